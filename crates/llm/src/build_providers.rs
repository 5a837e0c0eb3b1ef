//! Builds the providers that the options name.
use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::Model,
    models::ConfigError,
    options::{Options, Provider},
    prices::PriceTable,
};

/// The configured providers with their default models.
pub(crate) fn providers(
    _options: &Options,
    _prices: &Arc<PriceTable>,
) -> Result<BTreeMap<Provider, (Arc<dyn Model>, String)>, ConfigError> {
    Ok(BTreeMap::new())
}
