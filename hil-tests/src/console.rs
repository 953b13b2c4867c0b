//! The console as a browser without scripts sees it: it signs in, keeps its cookie, and sends the forms that pages hold.

use anyhow::{Context as _, Result, ensure};

use crate::stage::Stage;

/// A signed-in session.
#[derive(Debug)]
pub struct Console {
    url: String,
    cookie: String,
}

impl Console {
    /// Signs in as the administrator.
    ///
    /// # Errors
    /// When the server does not let them in.
    pub fn sign_in(stage: &Stage) -> Result<Self> {
        let password = std::fs::read_to_string(stage.dir.join("admin-password"))?;
        let url = stage.url();
        let answer = agent()
            .post(format!("{url}/login"))
            .send_form([("name", "admin"), ("password", password.trim())])?;
        let cookie = answer.headers().get("set-cookie").context("signing in gave no cookie")?;
        let cookie = cookie.to_str()?.split(';').next().unwrap_or_default().to_owned();
        Ok(Self { url, cookie })
    }
    /// A page.
    ///
    /// # Errors
    /// When it is not there.
    pub fn page(&self, path: &str) -> Result<String> {
        let mut answer = agent().get(format!("{}{path}", self.url)).header("cookie", &self.cookie).call()?;
        ensure!(answer.status() == 200, "{path} answers {}", answer.status());
        Ok(answer.body_mut().read_to_string()?)
    }
    /// Sends a form of the page `page` to `action`, with the secret that the page holds.
    ///
    /// # Errors
    /// When the page holds no form or the server refuses.
    pub fn submit(&self, page: &str, action: &str, fields: &[(&str, &str)]) -> Result<()> {
        let text = self.page(page)?;
        ensure!(text.contains(&format!("action=\"{action}\"")), "{page} has no form for {action}");
        let after = text.split("name=\"csrf\" value=\"").nth(1).context("a form without its secret")?;
        let csrf = after.split('"').next().unwrap_or_default();
        let form = [("csrf", csrf)].into_iter().chain(fields.iter().copied());
        let answer = agent()
            .post(format!("{}{action}", self.url))
            .header("cookie", &self.cookie)
            .header("origin", &self.url)
            .send_form(form)?;
        let status = answer.status().as_u16();
        ensure!(status == 200 || status == 303, "{action} answers {status}");
        Ok(())
    }
}

/// Follows nothing by itself: the answer to a form is what counts.
fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().max_redirects(0).build().into()
}
