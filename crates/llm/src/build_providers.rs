//! Builds the providers that the options name.
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    claude::Claude,
    http::{Http, is_loopback},
    model::Model,
    models::ConfigError,
    openai::OpenAi,
    options::{Options, Provider, Timeouts},
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
    let mut clients = Clients { timeouts: options.timeouts, proxied: None, direct: None };
    if let Some(claude) = &options.claude {
        let http = clients.get(here(claude.base_url.as_deref()))?;
        add(Provider::Claude, Arc::new(Claude::new(claude, http, Arc::clone(table))?));
    }
    if let Some(openai) = &options.openai {
        let http = clients.get(here(openai.base_url.as_deref()))?;
        add(Provider::OpenAi, Arc::new(OpenAi::new(openai, http, Arc::clone(table))?));
    }
    if let Some(local) = &options.local {
        add(Provider::Local, Arc::new(OpenAi::local(local, clients.get(true)?, Arc::clone(table))));
    }
    if let Some(scripted) = &options.scripted {
        add(Provider::Scripted, Arc::new(Scripted::new(scripted, options.timeouts)?));
    }
    Ok(built)
}

/// The HTTP clients; each reads the system's certificates, so it is only built where it is needed.
struct Clients {
    timeouts: Timeouts,
    proxied: Option<Http>,
    direct: Option<Http>,
}

impl Clients {
    fn get(&mut self, direct: bool) -> Result<Http, ConfigError> {
        let place = if direct { &mut self.direct } else { &mut self.proxied };
        if let Some(http) = place {
            return Ok(http.clone());
        }
        let http = Http::new(self.timeouts, direct)?;
        *place = Some(http.clone());
        Ok(http)
    }
}

/// Whether a configured URL means this machine; a URL that is none is refused where it is used.
fn here(base_url: Option<&str>) -> bool {
    base_url.and_then(|text| reqwest::Url::parse(text.trim()).ok()).is_some_and(|url| is_loopback(&url))
}
