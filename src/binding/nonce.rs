//! Nonces that the server gives (RFC 9449 sections 8 and 9): a proof can then not have been made
//! long before, whatever clock its maker has, and none can be made in stock for later.
//!
//! They are not remembered. A nonce says when it was made and carries a MAC over that, so every
//! process with the same secret knows the nonces of all.

use std::sync::OnceLock;
use std::time::Duration;

use aws_lc_rs::constant_time;
use serde_json::Value;

use crate::clock::Now;
use crate::config::options::{Options, bytes, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::material::Material;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// 22 characters are 132 bits.
const MAC_CHARS: usize = 22;

/// Gives nonces and knows them again.
#[derive(Debug)]
pub struct Nonces {
    key: Key,
    /// A nonce is current for this many seconds, and good for twice as many.
    span_s: u64,
    /// Whether other processes may have the same secret.
    is_agreed: bool,
}

/// How a nonce stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is the current one.
    Current,
    /// It is good, but there is a newer one.
    Aging,
    /// It is none of ours, or too old.
    Unknown,
}

impl Nonces {
    /// Reads the option `dpopNonce`: `true`, or `{ secret?, lifetime? }` with a secret of at least
    /// 32 bytes, a string or a Buffer, that all processes have (without it, a random one of this
    /// process), and a lifetime from 10 s to 1 h, 5 minutes by default.
    pub(crate) fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let empty = Value::Object(serde_json::Map::new());
        let value = if *value == Value::Bool(true) { &empty } else { value };
        let options = Options::read(path, value, &["secret", "lifetime"])?;
        let range = Duration::from_secs(10)..=Duration::from_secs(3600);
        let lifetime = options.duration("lifetime", range)?.unwrap_or(DEFAULT_LIFETIME);
        let at = options.path_of("secret");
        let (secret, is_agreed) = match options.get("secret") {
            Some(value) => {
                let secret = bytes(value).map_or_else(
                    || string_at(&at, value).map(|text| text.as_bytes().to_vec()),
                    Ok,
                )?;
                (secret, true)
            }
            None => (of_this_process(&at)?, false),
        };
        let key = Key::new(&at, Material::Secret(secret), Algorithm::Hs256)?;
        Ok(Self { key, span_s: (lifetime.as_secs() / 2).max(1), is_agreed })
    }

    /// Whether other processes may have the same secret.
    #[must_use]
    pub const fn is_agreed(&self) -> bool {
        self.is_agreed
    }

    /// The nonce to give at this instant.
    #[must_use]
    pub fn current(&self, now: Now) -> String {
        self.at(now.unix_us)
    }

    /// How a nonce of a proof stands at this instant. One that lies ahead may come from a process
    /// whose clock is ahead.
    #[must_use]
    pub fn judge(&self, nonce: &str, now: Now) -> Freshness {
        let Some(given_us) = self.given_us(nonce) else { return Freshness::Unknown };
        let span_us = self.span_s * 1_000_000;
        match now.unix_us.checked_sub(given_us) {
            Some(age_us) if age_us < span_us => Freshness::Current,
            Some(age_us) if age_us < 2 * span_us => Freshness::Aging,
            None if given_us - now.unix_us <= span_us => Freshness::Aging,
            _ => Freshness::Unknown,
        }
    }

    /// When a nonce was given, in microseconds since the epoch: a proof with it was made after
    /// that. `None` for one that is none of ours.
    #[must_use]
    pub fn given_us(&self, nonce: &str) -> Option<u64> {
        let given_us = u64::from_str_radix(nonce.split('.').next()?, 16).ok()?;
        let ours = self.at(given_us);
        let same = constant_time::verify_slices_are_equal(ours.as_bytes(), nonce.as_bytes());
        same.is_ok().then_some(given_us)
    }

    /// Those of this process, for whoever asks for none: they tell new proofs from old ones. `None`
    /// where this machine gives no random bytes.
    #[must_use]
    pub fn here() -> Option<&'static Self> {
        static HERE: OnceLock<Option<Nonces>> = OnceLock::new();
        HERE.get_or_init(|| Self::parse("jwt.dpopNonce", &Value::Bool(true)).ok()).as_ref()
    }

    fn at(&self, given_us: u64) -> String {
        // No signing input of a token has a space in it, so that no token can be made of this, were
        // it the same secret.
        let message = format!("keepstone dpop nonce {given_us} {}", self.span_s);
        let mac = self.key.sign(message.as_bytes()).unwrap_or_default();
        format!("{given_us:x}.{}", mac.get(..MAC_CHARS).unwrap_or_default())
    }
}

fn of_this_process(path: &str) -> Result<Vec<u8>, ConfigError> {
    static SECRET: OnceLock<Option<[u8; 32]>> = OnceLock::new();
    let secret = SECRET.get_or_init(|| {
        let mut bytes = [0; 32];
        crate::random::fill(&mut bytes).ok().map(|()| bytes)
    });
    secret.map(|bytes| bytes.to_vec()).ok_or_else(|| {
        ConfigError::new(
            ConfigCode::MissingOption,
            path,
            "is needed: this machine gives no random bytes",
        )
    })
}
