//! A browser without scripts: it keeps its cookie and follows nothing by itself.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use longshore_fleet::app::now;
use longshore_fleet::{auth, console};
use tower::ServiceExt as _;

use crate::app::Server;

/// What came back.
pub struct Page {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
    /// The value of the first hidden field `csrf`.
    pub fn csrf(&self) -> String {
        let from = self.text.split("name=\"csrf\" value=\"").nth(1).unwrap();
        from.split('"').next().unwrap().to_owned()
    }
}

/// One browser at one server.
pub struct Browser {
    router: Router,
    cookie: Option<String>,
}

impl Browser {
    /// Nobody is signed in.
    pub fn new(server: &Server) -> Self {
        Self { router: console::router(server.app.clone()), cookie: None }
    }
    /// An administrator is signed in.
    pub async fn signed_in(server: &Server) -> Self {
        auth::create_admin(&server.app.store, "admin", "correct horse", now()).await.unwrap();
        Self::again(server).await
    }
    /// The administrator signs in at another desk.
    pub async fn again(server: &Server) -> Self {
        let mut browser = Self::new(server);
        let page = browser.post("/login", "name=admin&password=correct+horse").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        let cookie = page.header("set-cookie");
        browser.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        browser
    }
    fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let builder = Request::builder().method(method).uri(path).header(header::HOST, "localhost:8080");
        match &self.cookie {
            Some(cookie) => builder.header(header::COOKIE, cookie),
            None => builder,
        }
    }
    pub async fn send(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }
    async fn page(&self, request: Request<Body>) -> Page {
        let response = self.send(request).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap();
        Page {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }
    pub async fn get(&self, path: &str) -> Page {
        self.page(self.request("GET", path).body(Body::empty()).unwrap()).await
    }
    /// As htmx asks.
    pub async fn fragment(&self, path: &str) -> Page {
        let request = self.request("GET", path).header("hx-request", "true");
        self.page(request.body(Body::empty()).unwrap()).await
    }
    pub async fn post(&self, path: &str, form: &str) -> Page {
        let request =
            self.request("POST", path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.page(request.body(Body::from(form.to_owned())).unwrap()).await
    }
    /// The answer of the stream, unread.
    pub async fn stream(&self, path: &str) -> axum::response::Response {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }
}
