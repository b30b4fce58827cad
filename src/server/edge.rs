//! What every request passes on its way in and every answer on its way out, whatever its path: the bound on heads, the
//! rules for browsers, the answer's coding.
//!
//! One boxed future for a request, which stands in the place of the one that a boxed service would make: a request that
//! asks for nothing of this pays for some looks at its headers. What asks a model goes past the router, whose layers would take
//! more than finding a place for the request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::Service;
use tower::Service as _;

use super::cors::Cors;
use super::discard::discard;
use super::routes::{Front, answered, head_too_large};
use crate::coding::Coding;
use crate::in_place;
use crate::telemetry::Route;

/// The paths of a listener with what surrounds them.
#[derive(Clone)]
pub struct Edge {
    router: Router,
    front: Arc<Front>,
    cors: Option<Arc<Cors>>,
    /// Models can be asked here.
    answers: bool,
}

impl Edge {
    /// What clients reach: the router has the paths that ask no model.
    pub fn of_clients(router: Router, front: Arc<Front>, cors: Option<Cors>) -> Self {
        Self { router, front, cors: cors.map(Arc::new), answers: true }
    }

    /// What operators reach.
    pub fn of_operators(router: Router, front: Arc<Front>) -> Self {
        Self { router, front, cors: None, answers: false }
    }
}

impl Service<Request<Incoming>> for Edge {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Some(allowed) = self.cors.as_ref().and_then(|cors| cors.preflight(&request)) {
            return Box::pin(async { Ok(allowed) });
        }
        let wanted = Coding::wanted(request.headers());
        let grant = self.cors.as_ref().map(|cors| cors.grant(request.headers()));
        let (mut router, front) = (self.router.clone(), Arc::clone(&self.front));
        let asked = Route::of(request.uri().path()).is_answered() && self.answers && request.method() == Method::POST;
        let mut request = request.map(Body::new);
        in_place::pinned(|| async move {
            let response = match head_too_large(&front, &request) {
                Some(refused) => {
                    discard(&front.pipeline.desk.tasks, request.into_body());
                    refused
                }
                None if asked => answered(&front, &mut request).await,
                None => router.call(request).await?,
            };
            let mut response = front.coder.fit(response, wanted).await;
            if let Some(grant) = grant {
                grant.mark(&mut response);
            }
            Ok(response)
        })
    }
}
