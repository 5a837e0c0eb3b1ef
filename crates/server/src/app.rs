//! The routes of MAOS and what they share.
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::middleware::from_fn_with_state;
use maos_api::Task;
use maos_api::tasks::Links;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::AuthOptions;
use crate::backend::Backend;
use crate::config::ConfigDoor;
use crate::guard::{self, HostPolicy};
use crate::hub::Hub;
use crate::idempotency::{self, Keys};
use crate::logs::{self, LogBuffer};
use crate::metrics::{self, Metrics};
use crate::reply::Answer;
use crate::stream::{self, STREAMS_MAX, too_many};
use crate::{agents, configuration, doc, files, machine, mcp, pages, people, tasks, views};

/// What program this is, for `/api/version`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildInfo {
    /// Commit, if known.
    pub git: Option<String>,
    /// Compiler, if known.
    pub rustc: Option<String>,
}

/// What all routes share.
pub(crate) struct App {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) config: Arc<dyn ConfigDoor>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) hub: Hub,
    pub(crate) logs: LogBuffer,
    pub(crate) auth: AuthOptions,
    pub(crate) hosts: HostPolicy,
    pub(crate) build: BuildInfo,
    pub(crate) metrics: Metrics,
    pub(crate) streams: Arc<Semaphore>,
    /// The server is stopping: streams end.
    pub(crate) stop: CancellationToken,
    /// Where the dashboard listens, once it does.
    pub(crate) dashboard_url: OnceLock<String>,
}

impl App {
    pub(crate) fn new(backend: Arc<dyn Backend>, config: Arc<dyn ConfigDoor>, logs: LogBuffer) -> Self {
        Self {
            backend,
            config,
            keys: Arc::new(Keys::default()),
            hub: Hub::new(),
            logs,
            auth: AuthOptions::default(),
            hosts: HostPolicy::default(),
            build: BuildInfo::default(),
            metrics: Metrics::new(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stop: CancellationToken::new(),
            dashboard_url: OnceLock::new(),
        }
    }

    /// Room for one more stream.
    pub(crate) fn stream_permit(&self) -> Answer<OwnedSemaphorePermit> {
        self.streams.clone().try_acquire_owned().map_err(|_| too_many())
    }

    /// The task with the addresses of its pages.
    pub(crate) fn linked(&self, mut task: Task) -> Task {
        let base = format!("/api/tasks/{}", task.task_id);
        let dashboard = self.dashboard_url.get().map_or("", String::as_str);
        task.links = Links {
            results: format!("{base}/results"),
            events: format!("{base}/events"),
            dashboard: format!("{dashboard}/tasks/{}", task.task_id),
            self_: base,
        };
        task
    }
}

/// Every route with its documentation.
pub(crate) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(doc::head())
        .routes(routes!(tasks::submit, tasks::list))
        .routes(routes!(tasks::get, tasks::update))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::pause))
        .routes(routes!(tasks::resume))
        .routes(routes!(tasks::retry))
        .routes(routes!(views::results))
        .routes(routes!(views::plan))
        .routes(routes!(views::analysis))
        .routes(routes!(views::usage))
        .routes(routes!(views::agents))
        .routes(routes!(views::state))
        .routes(routes!(views::messages))
        .routes(routes!(views::output))
        .routes(routes!(stream::task_events))
        .routes(routes!(stream::events))
        .routes(routes!(people::questions))
        .routes(routes!(people::input))
        .routes(routes!(files::upload))
        .routes(routes!(files::artifacts))
        .routes(routes!(files::artifact))
        .routes(routes!(agents::agents, agents::spawn))
        .routes(routes!(agents::agent, agents::terminate))
        .routes(routes!(agents::pause))
        .routes(routes!(agents::resume))
        .routes(routes!(agents::restart))
        .routes(routes!(agents::metrics))
        .routes(routes!(agents::agent_logs))
        .routes(routes!(agents::agent_types))
        .routes(routes!(machine::status))
        .routes(routes!(machine::health))
        .routes(routes!(machine::component))
        .routes(routes!(machine::version))
        .routes(routes!(machine::models))
        .routes(routes!(logs::logs))
        .routes(routes!(configuration::view))
        .routes(routes!(configuration::get, configuration::set))
        .routes(routes!(doc::problems))
        .routes(routes!(doc::problem))
        .routes(routes!(doc::openapi_json))
        .routes(routes!(doc::openapi_yaml))
        .routes(routes!(pages::livez))
        .routes(routes!(pages::readyz))
        .routes(routes!(metrics::metrics))
}

/// The whole service, ready to be mounted on any listener.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .merge(mcp::router(app.clone()))
        .fallback(pages::fallback)
        .layer(from_fn_with_state(app.clone(), idempotency::layer))
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}
