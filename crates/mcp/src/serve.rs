//! The two faces.
use crate::door::Door;
use crate::tools;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::service::{RequestContext, RoleServer, serve_server};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use std::io;
use std::sync::Arc;

/// The HTTP face: a service for one address, without sessions and without state of its own.
pub type HttpService = StreamableHttpService<Face, NeverSessionManager>;

/// The tools behind a connection.
#[derive(Clone)]
pub struct Face {
    door: Arc<dyn Door>,
    tools: Arc<Vec<Tool>>,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Face").field("tools", &self.tools.len()).finish_non_exhaustive()
    }
}

impl Face {
    fn new(door: Arc<dyn Door>) -> Self {
        Self { door, tools: Arc::new(tools::all()) }
    }
}

impl ServerHandler for Face {
    fn get_info(&self) -> ServerConfig {
        let us = Implementation::new("maos", env!("CARGO_PKG_VERSION")).with_title("MAOS: many agents, one line of work");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build()).with_server_info(us).with_instructions(tools::INSTRUCTIONS)
    }

    async fn list_tools(&self, _: Option<PaginatedRequestParams>, _: RequestContext<RoleServer>) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tools.as_ref().clone()))
    }

    async fn call_tool(&self, call: CallToolRequestParams, context: RequestContext<RoleServer>) -> Result<CallToolResponse, ErrorData> {
        let args = call.arguments.unwrap_or_default();
        let done = tokio::select! {
            done = tools::call(self.door.as_ref(), &call.name, args) => done,
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("the call was cancelled", None)),
        };
        let unknown = || {
            let names: Vec<&str> = self.tools.iter().map(|t| t.name.as_ref()).collect();
            ErrorData::invalid_params(format!("There is no tool '{}'; there are: {}", call.name, names.join(", ")), None)
        };
        done.map(CallToolResponse::Complete).ok_or_else(unknown)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tools.iter().find(|t| t.name == name).cloned()
    }
}

/// Serves one client over standard input and output until it closes our input. Nothing else may write to standard output.
///
/// # Errors
/// The client did not speak the protocol, or went away in the middle of its greeting.
pub async fn serve_stdio(door: Arc<dyn Door>) -> io::Result<()> {
    let running = serve_server(Face::new(door), rmcp::transport::stdio()).await.map_err(io::Error::other)?;
    running.waiting().await.map(drop).map_err(io::Error::other)
}

/// The HTTP face, to be mounted at one address behind the guard of the API. `body_bytes_max` is the largest request.
pub fn http_service(door: Arc<dyn Door>, body_bytes_max: usize) -> HttpService {
    let face = Face::new(door);
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(body_bytes_max)
        // The API's guard has judged Host and Origin already, by the server's own names; a second list would only disagree.
        .disable_allowed_hosts()
        .disable_allowed_origins();
    StreamableHttpService::new(move || Ok(face.clone()), Arc::new(NeverSessionManager::default()), config)
}
