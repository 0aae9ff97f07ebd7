//! Nonces of the server (RFC 9449 sections 8 and 9). A proof with a nonce was made after it,
//! whatever the clock of its maker, so proofs cannot be prepared in advance.
//!
//! Nonces are not stored. A nonce contains its time and a MAC over it, so every process with the
//! same secret accepts the nonces of all.

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

/// Issues nonces and verifies them.
#[derive(Debug)]
pub struct Nonces {
    key: Key,
    /// A nonce is current for this many seconds, and valid for twice as many.
    span_s: u64,
    /// Whether other processes may have the same secret.
    is_agreed: bool,
}

/// The freshness of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It is the current one.
    Current,
    /// It is valid, but there is a newer one.
    Aging,
    /// It is not from this server, or too old.
    Unknown,
}

impl Nonces {
    /// Parses the option `dpopNonce`: `true`, or `{ secret?, lifetime? }`. The secret is a string
    /// or a Buffer of at least 32 bytes, the same in all processes; without it, this process uses a
    /// random one. The lifetime is from 10 s to 1 h, 5 minutes by default.
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

    /// The nonce to issue at this instant.
    #[must_use]
    pub fn current(&self, now: Now) -> String {
        self.at(now.unix_us)
    }

    /// The freshness of a nonce at this instant. A nonce from the future may come from a process
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

    /// The time at which a nonce was issued, in microseconds since the epoch: a proof with it was
    /// made later. `None` if this server did not issue it.
    #[must_use]
    pub fn given_us(&self, nonce: &str) -> Option<u64> {
        let given_us = u64::from_str_radix(nonce.split('.').next()?, 16).ok()?;
        let ours = self.at(given_us);
        let same = constant_time::verify_slices_are_equal(ours.as_bytes(), nonce.as_bytes());
        same.is_ok().then_some(given_us)
    }

    /// The nonces of this process, for guards without the option `dpopNonce`: they distinguish new
    /// proofs from old ones. `None` if this machine returns no random bytes.
    #[must_use]
    pub fn here() -> Option<&'static Self> {
        static HERE: OnceLock<Option<Nonces>> = OnceLock::new();
        HERE.get_or_init(|| Self::parse("jwt.dpopNonce", &Value::Bool(true)).ok()).as_ref()
    }

    fn at(&self, given_us: u64) -> String {
        // The signing input of a token never contains a space, so this MAC cannot sign a token,
        // even if the secret is the same.
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
