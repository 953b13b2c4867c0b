//! Who is let in.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use longshore_fleet::{app, auth};
use serde_json::{Value, json};

use crate::support::{Fleet, PASSWORD};

fn bare(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("content-type", "application/json")
}

#[tokio::test]
async fn every_route_of_the_document_needs_somebody_but_signing_in() {
    let fleet = Fleet::new().await;
    let document: Value = serde_json::from_str(&longshore_fleet::api::openapi()).unwrap();
    let mut seen = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let open = method == "post" && path == "/api/v1/session";
            let concrete = path.replace("{sha256}", &"0".repeat(64)).replace(['{', '}'], "");
            for header in [None, Some("Bearer lsa1.wrong"), Some("Basic YTpi")] {
                let mut request = bare(&method.to_uppercase(), &concrete);
                if let Some(h) = header {
                    request = request.header("authorization", h);
                }
                let answer = fleet.send(request.body(Body::from("{}")).unwrap()).await;
                if open {
                    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{method} {path}");
                } else {
                    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}");
                    assert_eq!(answer.json["code"], "auth.required");
                }
                assert_eq!(answer.headers["content-type"], "application/problem+json");
            }
            seen += 1;
        }
    }
    assert!(seen >= 24, "{seen}");
}

#[tokio::test]
async fn a_password_becomes_a_token_and_wrong_ones_lock_the_name() {
    let fleet = Fleet::new().await;
    let sign_in = |name: &str, password: &str| {
        let body = json!({ "name": name, "password": password }).to_string();
        fleet.send(bare("POST", "/api/v1/session").body(Body::from(body)).unwrap())
    };
    let good = sign_in("admin", PASSWORD).await;
    assert_eq!(good.status, StatusCode::OK);
    let token = good.json["token"].as_str().unwrap();
    let request = bare("GET", "/api/v1/fleet").header("authorization", format!("Bearer {token}"));
    let answer = fleet.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, &answer.json["fleet"]), (StatusCode::OK, &json!("harbour")));

    for _ in 0..6 {
        assert_eq!(sign_in("admin", "wrong").await.status, StatusCode::UNAUTHORIZED);
    }
    let locked = sign_in("admin", PASSWORD).await;
    assert_eq!((locked.status, &locked.json["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("auth.locked")));
    assert_eq!(
        sign_in("nobody", "wrong").await.status,
        StatusCode::UNAUTHORIZED,
        "another name is not locked"
    );
}

#[tokio::test]
async fn a_session_cookie_needs_the_csrf_token_for_changes() {
    let fleet = Fleet::new().await;
    let signed = auth::sign_in(&fleet.app, "admin", PASSWORD, app::now()).await.unwrap();
    let cookie = format!("{}={}", auth::COOKIE, signed.cookie);
    let get = bare("GET", "/api/v1/fleet").header("cookie", &cookie).body(Body::empty()).unwrap();
    assert_eq!(fleet.send(get).await.status, StatusCode::OK);
    let post = |csrf: &str| {
        let body = json!({ "hash": "0".repeat(64), "expires": app::now().0 + 1000 }).to_string();
        let request =
            bare("POST", "/api/v1/devices/tokens").header("cookie", &cookie).header("x-csrf-token", csrf);
        fleet.send(request.body(Body::from(body)).unwrap())
    };
    assert_eq!(post("").await.json["code"], "auth.csrf");
    assert_eq!(post("wrong").await.status, StatusCode::FORBIDDEN);
    assert_eq!(post(&signed.csrf).await.status, StatusCode::OK);
    auth::sign_out(&fleet.app, &signed.cookie, longshore_fleet::app::now()).await.unwrap();
    let get = bare("GET", "/api/v1/fleet").header("cookie", &cookie).body(Body::empty()).unwrap();
    assert_eq!(fleet.send(get).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn passwords_and_names_that_are_none_are_refused() {
    let fleet = Fleet::new().await;
    let short = auth::create_admin(&fleet.app.store, "x", "short", app::now()).await;
    assert!(matches!(short, Err(auth::AuthError::ShortPassword)));
    let name = auth::create_admin(&fleet.app.store, "No Name", PASSWORD, app::now()).await;
    assert!(matches!(name, Err(auth::AuthError::Name(_))));
}
