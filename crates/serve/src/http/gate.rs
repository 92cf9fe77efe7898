//! Every request passes here first: the name it uses for us, then its key, and only then its route.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use axum::response::IntoResponse;
use tower::ServiceExt;

use crate::api::error::ApiError;
use crate::app::App;
use crate::auth::Tenant;
use crate::http::body::Ending;
use crate::http::timed::{Phase, Phases};
use crate::routes::{self, Access};

/// Answers one request of a connection.
pub(crate) async fn answer(
    app: Arc<App>,
    router: Router,
    phases: Phases,
    request: Request,
) -> Response<Ending<IdleAgain>> {
    phases.enter(Phase::Busy);
    let route = routes::find(request.uri().path());
    let method = request.method().clone();
    let response = match check(&app, &request) {
        Ok(tenant) => match router.oneshot(on_behalf(request, tenant)).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        Err(error) => error.into_response(),
    };
    app.metrics.count(route.map_or("other", |route| route.path), response.status().as_u16());
    tracing::debug!(%method, route = route.map(|route| route.path), status = response.status().as_u16(), "answered");
    response.map(|body| Ending::new(body, IdleAgain(phases)))
}

/// Deny by default: a route that is not in the table wants a key too. Says on whose behalf the request is.
fn check(app: &App, request: &Request<Body>) -> Result<Tenant, ApiError> {
    app.hosts.check(request)?;
    match routes::access(request.method().as_str(), request.uri().path()) {
        Access::Anyone | Access::SignIn => Ok(Tenant::default()),
        Access::Key => app.keys.check(request.headers()),
        Access::Operator => app.keys.check_operator(request.headers()),
    }
}

fn on_behalf(mut request: Request, tenant: Tenant) -> Request {
    request.extensions_mut().insert(tenant);
    request
}

/// Held by an answer's body: when that is gone, the connection waits for the next request.
pub(crate) struct IdleAgain(Phases);

impl Drop for IdleAgain {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}
