//! Tokens that their issuer is asked about (RFC 7662): which ones these are, and what an answer is
//! worth. `crate::introspection` asks, and keeps the answers.
//!
//! 1. Where the issuer is the only one and has no keys, it is asked about all tokens.
//! 2. Otherwise it is asked about tokens that are no compact JWS. Keys verify a JWT, and it goes to
//!    no endpoint; with `introspection.jwts`, the endpoint judges JWTs with the `iss` of its
//!    issuer.
//! 3. `active: true` is not enough: issuer, audience, times, binding and `token_type` are checked
//!    as for a JWT. Every token of the issuer is active, also one for another API or client, and a
//!    refresh token.

use std::sync::Arc;

use crate::bearer::TokenError;
use crate::bearer::is_token68;
use crate::clock::Now;
use crate::introspection::{
    Answer, AnswerHead, AskError, Finding, Flight, Introspection, Judgement,
};
use crate::jose::{Compact, MAX_TOKEN_SIZE, Malformed};
use crate::json::object::Shallow;
use crate::remote_keys::OperatorWarning;
use crate::store::Reply;
use crate::token::claims::{self, Registered, Times};
use crate::token::config::TokenConfig;
use crate::token::issuer::Issuer;
use crate::token::verify::{Claims, Fingerprint, Verified, VerifyError, looks_like_token};

/// The questions to an issuer, and its answers as the token layer judges them.
pub(crate) type Introspections = Introspection<Judged>;

/// A judged answer.
#[derive(Debug)]
pub(crate) enum Judged {
    /// The token is active and for this API. Its times are checked at each use.
    Active {
        verified: Arc<Verified>,
        times: Times,
    },
    Refused(TokenError),
}

/// A question to an issuer that a request waits for. Keep it until the token is verified again: the
/// answer is then there, even if it is in no cache.
#[derive(Debug, Clone)]
pub struct IntrospectionWait {
    introspections: Arc<Introspections>,
    flight: Arc<Flight<Judged>>,
}

impl IntrospectionWait {
    /// Calls `reply` once there is an answer, or none will come. Then verify the token again.
    pub fn wait(&self, reply: Reply<()>) {
        self.introspections.wait(&self.flight, reply);
    }
}

/// The issuer that is asked about this token; `None` for a token that keys verify.
pub(super) fn issuer_of<'c>(
    config: &'c TokenConfig,
    token: &str,
) -> Option<(&'c Arc<Issuer>, &'c Arc<Introspections>)> {
    let (issuer, introspections, is_alone) = config.introspecting()?;
    let is_asked = is_alone
        || !looks_like_token(token)
        || introspections.endpoint().takes_jwts && names(token, issuer.name());
    is_asked.then_some((issuer, introspections))
}

/// Whether a JWT has this `iss`. Nothing is verified: the endpoint judges the token.
fn names(token: &str, issuer: &str) -> bool {
    let Ok(compact) = Compact::read(token, MAX_TOKEN_SIZE) else { return false };
    let Ok(text) = compact.text() else { return false };
    let iss = claims::read(&text)
        .map(|claims| matches!(claims.get("iss"), Some(Shallow::Text(name)) if **name == *issuer));
    iss.unwrap_or(false)
}

/// The result of the last answer about a token. With `may_ask`, the result may be to wait for one.
pub(super) fn verify(
    issuer: &Issuer,
    introspections: &Arc<Introspections>,
    token: &str,
    max_bytes: usize,
    now: Now,
    may_ask: bool,
) -> Result<Arc<Verified>, VerifyError> {
    if token.len() > max_bytes {
        return Err(Malformed::TooLarge.into());
    }
    if !is_token68(token) {
        return Err(Malformed::Credentials.into());
    }
    match introspections.find(token, now, may_ask) {
        Finding::Judged(judged) => match &*judged {
            Judged::Refused(error) => Err(error.clone().into()),
            Judged::Active { verified, times } => {
                claims::check_time(issuer, times, now)?;
                Ok(Arc::clone(verified))
            }
        },
        Finding::Unavailable(why) => Err(TokenError::IntrospectionUnavailable(why).into()),
        Finding::Wait(flight) => {
            let introspections = Arc::clone(introspections);
            Err(VerifyError::Introspecting(IntrospectionWait { introspections, flight }))
        }
    }
}

impl Issuer {
    /// Takes the answer or error of a question to this issuer.
    pub(crate) fn introspected(
        &self,
        number: u32,
        came: Result<(&AnswerHead, &[u8]), AskError>,
        now: Now,
    ) -> Option<OperatorWarning> {
        let introspections = self.introspection()?;
        introspections.answered(number, came, now, |token, answer| {
            judge(self, introspections, token, &answer, now)
        })
    }
}

fn judge(
    issuer: &Issuer,
    introspections: &Introspections,
    token: &str,
    answer: &Answer<'_>,
    now: Now,
) -> Judgement<Judged> {
    let judged = match answer {
        Answer::Inactive => Err(TokenError::Inactive),
        Answer::Active(text, members) => {
            claims::check_answer(issuer, introspections.endpoint(), members, now)
                .map(|registered| (*text, registered))
        }
    };
    match judged {
        Ok((text, registered)) => {
            let times = registered.times;
            let verified = Arc::new(identity(issuer, token, text.to_owned(), registered));
            // The claims are kept as text, and after their first use as a map as well.
            let bytes = 4 * text.len() + 512;
            Judgement { value: Judged::Active { verified, times }, is_active: true, bytes }
        }
        Err(error) => Judgement { value: Judged::Refused(error), is_active: false, bytes: 0 },
    }
}

fn identity(issuer: &Issuer, token: &str, text: String, registered: Registered) -> Verified {
    let Registered { times, iss: _, tenant: _, confirmation, subject, id, session } = registered;
    let own = fingerprint(token);
    let of_id = id.as_deref().map(Fingerprint::of_jti);
    Verified {
        issuer: Arc::from(issuer.name()),
        subject,
        session,
        issued_at: times.issued_us / 1_000_000,
        expires_at: times.expires_us.div_ceil(1_000_000),
        key_id: None,
        alg: None,
        fingerprint: of_id.unwrap_or(own),
        text_fingerprint: Some(own),
        confirmation,
        claims: Claims::new(text),
        id,
    }
}

/// The fingerprint of the text of a token. An opaque token is its own name, so that
/// `revoke.token()`, which takes any text without the form of a JWT for a `jti`, needs no answer of
/// the issuer. A JWT is named as the key verifier names it.
pub(super) fn fingerprint(token: &str) -> Fingerprint {
    let Ok(compact) = Compact::read(token, MAX_TOKEN_SIZE) else {
        return Fingerprint::of_jti(token);
    };
    let text = compact.text();
    let claims = text.as_ref().ok().and_then(|text| claims::read(text).ok());
    match claims.as_ref().and_then(|claims| claims.get("jti")?.as_str()) {
        Some(jti) if !jti.is_empty() => Fingerprint::of_jti(jti),
        _ => Fingerprint::of_signing_input(compact.signing_input),
    }
}
