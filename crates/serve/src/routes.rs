//! The table of routes: the router, the access rules, the labels of the metrics and the tests of all of them come
//! from here. What is not in the table does not exist, and what the table does not open needs a key.

use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodFilter, MethodRouter};

use crate::api::{adapters, completions, error, health, metrics, models, page, rerank};
use crate::app::App;

/// Who may use a route, once the server has keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Anyone,
    /// Whoever brings a key.
    Key,
    /// Whoever brings a key; others get status 401 too, with a page that asks for one.
    SignIn,
    /// Whoever brings an operator's key: it changes what is served to all.
    Operator,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` (which answers `HEAD` too), `POST` or `DELETE`.
    pub method: &'static str,
    /// The path; `{…}` stands for any one part.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Page,
    Alive,
    Ready,
    Metrics,
    Models,
    Model,
    Completions,
    Chat,
    Adapters,
    LoadAdapter,
    DropAdapter,
    Rerank,
}

/// Every route there is.
pub const TABLE: &[Route] = &[
    Route { method: "GET", path: "/", access: Access::SignIn, endpoint: Endpoint::Page },
    Route { method: "GET", path: "/healthz", access: Access::Anyone, endpoint: Endpoint::Alive },
    Route { method: "GET", path: "/readyz", access: Access::Key, endpoint: Endpoint::Ready },
    Route { method: "GET", path: "/metrics", access: Access::Key, endpoint: Endpoint::Metrics },
    Route { method: "GET", path: "/v1/models", access: Access::Key, endpoint: Endpoint::Models },
    Route { method: "GET", path: "/v1/models/{id}", access: Access::Key, endpoint: Endpoint::Model },
    Route { method: "POST", path: "/v1/completions", access: Access::Key, endpoint: Endpoint::Completions },
    Route { method: "POST", path: "/v1/chat/completions", access: Access::Key, endpoint: Endpoint::Chat },
    Route { method: "GET", path: "/v1/adapters", access: Access::Key, endpoint: Endpoint::Adapters },
    Route { method: "POST", path: "/v1/adapters", access: Access::Operator, endpoint: Endpoint::LoadAdapter },
    Route {
        method: "DELETE",
        path: "/v1/adapters/{adapter}",
        access: Access::Operator,
        endpoint: Endpoint::DropAdapter,
    },
    Route { method: "POST", path: "/v1/rerank", access: Access::Key, endpoint: Endpoint::Rerank },
];

impl Route {
    /// Adds the route to the others of its path.
    fn handler(&self, others: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
        let method = match self.method {
            "POST" => MethodFilter::POST,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        match self.endpoint {
            Endpoint::Page => others.on(method, page::show),
            Endpoint::Alive => others.on(method, health::alive),
            Endpoint::Ready => others.on(method, health::ready),
            Endpoint::Metrics => others.on(method, metrics::show),
            Endpoint::Models => others.on(method, models::list),
            Endpoint::Model => others.on(method, models::one),
            Endpoint::Completions => others.on(method, completions::complete),
            Endpoint::Chat => others.on(method, completions::chat),
            Endpoint::Adapters => others.on(method, adapters::list),
            Endpoint::LoadAdapter => others.on(method, adapters::load),
            Endpoint::DropAdapter => others.on(method, adapters::drop),
            Endpoint::Rerank => others.on(method, rerank::rerank),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self.path.split_once('{') {
            Some((before, _)) => path.strip_prefix(before).is_some_and(|id| !id.is_empty() && !id.contains('/')),
            None => path == self.path,
        }
    }
}

/// A route that a path belongs to, whatever the method.
pub(crate) fn find(path: &str) -> Option<&'static Route> {
    TABLE.iter().find(|route| route.matches(path))
}

/// Who may ask for this. What is not in the table wants a key too, but for other methods of a path that is open.
pub(crate) fn access(method: &str, path: &str) -> Access {
    let method = if method == "HEAD" { "GET" } else { method };
    let of_path = || TABLE.iter().filter(|route| route.matches(path));
    match of_path().find(|route| route.method == method) {
        Some(route) => route.access,
        None if of_path().next().is_some() && of_path().all(|route| route.access == Access::Anyone) => Access::Anyone,
        None => Access::Key,
    }
}

/// The router of the table.
pub(crate) fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    // Routes of one path stand one after another.
    for routes in TABLE.chunk_by(|a, b| a.path == b.path) {
        let handlers = routes.iter().fold(MethodRouter::new(), |others, route| route.handler(others));
        let allowed = |route: &Route| if route.method == "GET" { "GET, HEAD" } else { route.method };
        let allowed: Arc<str> = routes.iter().map(allowed).collect::<Vec<_>>().join(", ").into();
        let handlers = handlers.fallback(move || async move { error::method_not_allowed(&allowed) });
        router = router.route(routes[0].path, handlers);
    }
    router.fallback(error::not_found).with_state(app)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sign_of_life_is_open() {
        let open: Vec<_> =
            TABLE.iter().filter(|route| route.access == Access::Anyone).map(|route| route.path).collect();
        assert_eq!(open, ["/healthz"]);
    }

    #[test]
    fn routes_of_one_path_stand_together() {
        for (index, route) in TABLE.iter().enumerate() {
            let same: Vec<usize> = (0..TABLE.len()).filter(|&other| TABLE[other].path == route.path).collect();
            assert_eq!(same.iter().max().unwrap() - same.iter().min().unwrap() + 1, same.len(), "{}", route.path);
            assert!(same.iter().all(|&other| other == index || TABLE[other].method != route.method), "{}", route.path);
        }
    }

    #[test]
    fn what_changes_the_server_is_the_operators() {
        let operators: Vec<_> = TABLE.iter().filter(|route| route.access == Access::Operator).collect();
        assert!(operators.iter().all(|route| route.method != "GET") && operators.len() == 2);
        assert_eq!(access("GET", "/v1/adapters"), Access::Key);
        assert_eq!(access("HEAD", "/v1/adapters"), Access::Key);
        assert_eq!(access("POST", "/v1/adapters"), Access::Operator);
        assert_eq!(access("DELETE", "/v1/adapters/x"), Access::Operator);
        assert_eq!(access("PUT", "/v1/adapters"), Access::Key);
        assert_eq!(access("PUT", "/healthz"), Access::Anyone);
        assert_eq!(access("PUT", "/"), Access::Key);
        assert_eq!(access("GET", "/"), Access::SignIn);
        assert_eq!(access("POST", "/v1/adapters/"), Access::Key);
        assert_eq!(access("GET", "/nowhere"), Access::Key);
    }

    #[test]
    fn paths_find_their_route() {
        let path_of = |path| find(path).map(|route| route.path);
        assert_eq!(path_of("/healthz"), Some("/healthz"));
        assert_eq!(path_of("/v1/models/x"), Some("/v1/models/{id}"));
        for path in ["", "//", "/healthz/", "/v1/models/", "/v1/models/x/y", "/V1/models"] {
            assert_eq!(path_of(path), None, "{path}");
        }
    }
}
