//! Builds the providers that the options name.
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    claude::Claude,
    http::Http,
    model::Model,
    models::ConfigError,
    openai::OpenAi,
    options::{Options, Provider},
    prices::PriceTable,
    scripted::Scripted,
};

/// A provider's client and its default model.
pub(crate) type Built = (Arc<dyn Model>, String);

/// The configured providers with their default models.
pub(crate) fn providers(options: &Options, table: &Arc<PriceTable>) -> Result<BTreeMap<Provider, Built>, ConfigError> {
    let mut built = BTreeMap::new();
    let mut add = |provider: Provider, model: Arc<dyn Model>| {
        let default = model.describe().models.into_iter().next().unwrap_or_default();
        built.insert(provider, (model, default));
    };
    // The HTTP client reads the system's certificates, so it is only built where it is needed.
    let networked = options.claude.is_some() || options.openai.is_some() || options.local.is_some();
    if networked {
        let http = Http::new(options.timeouts)?;
        if let Some(claude) = &options.claude {
            add(Provider::Claude, Arc::new(Claude::new(claude, http.clone(), Arc::clone(table))?));
        }
        if let Some(openai) = &options.openai {
            add(Provider::OpenAi, Arc::new(OpenAi::new(openai, http.clone(), Arc::clone(table))?));
        }
        if let Some(local) = &options.local {
            add(Provider::Local, Arc::new(OpenAi::local(local, http, Arc::clone(table))));
        }
    }
    if let Some(scripted) = &options.scripted {
        add(Provider::Scripted, Arc::new(Scripted::new(scripted, options.timeouts)?));
    }
    Ok(built)
}
