//! The decision about a refresh token that is presented.

use serde_json::{Map, Value};

use crate::clock::MAX_TOLERANCE;
use crate::clock::micros;
use crate::session::config::RefreshConfig;
use crate::session::secret::FamilyKey;

/// A new family.
#[derive(Clone, PartialEq, Eq)]
pub struct NewFamily {
    /// The key of its record.
    pub place: FamilyKey,
    /// A hash of its name.
    pub mark: [u8; 16],
    /// The hash of its first token.
    pub current: [u8; 32],
    /// Its `sid`.
    pub session: String,
    /// A [`SessionData`], encoded.
    pub kept: Vec<u8>,
}

/// A use of a token, as the store sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RefreshAttempt {
    /// The key of its family's record.
    pub place: FamilyKey,
    /// A hash of the name of its family.
    pub mark: [u8; 16],
    /// The [`audience_mark`](crate::session::audience_mark) of the guard it is used at.
    pub audience: [u8; 16],
    /// Its own hash.
    pub presented: [u8; 32],
    /// The salt of its successor, if this is its first use.
    pub salt: [u8; 32],
    /// The hash of that successor.
    pub successor: [u8; 32],
    /// By the caller's clock, no session can have begun later than this second.
    pub latest_born_s: u64,
    /// By the same clock, a session that began before this second is over.
    pub earliest_born_s: u64,
}

impl RefreshAttempt {
    /// The same with the bounds of a clock: the earliest and the latest second.
    #[must_use]
    pub fn by_clock(self, earliest_born_s: u64, latest_born_s: u64) -> Self {
        Self { latest_born_s, earliest_born_s, ..self }
    }
}

/// The result of a use.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The family does not exist, is over, or is for another audience.
    Unknown,
    /// The successor is derived with this salt.
    Next {
        /// The caller's own salt, or that of the first caller.
        salt: [u8; 32],
        /// The data of the family.
        kept: Vec<u8>,
    },
    /// The token was used before: the family has ended, and its session must be revoked.
    Reused {
        /// The `sid`.
        session: String,
    },
    /// A record exists, but none of the servers' keys has sealed it.
    Unsealed,
    /// The session began in the future by the caller's clock, so no access token can be issued for
    /// it. Or it is over by that clock but not by the store's. Nothing was used.
    Ahead,
}

macro_rules! without_secrets {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
without_secrets!(NewFamily, RefreshAttempt, Family, Used, SessionData);

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Next { .. } => "Next",
            Self::Reused { .. } => "Reused",
            Self::Unsealed => "Unsealed",
            Self::Ahead => "Ahead",
        })
    }
}

/// A family, with times on the clock of its keeper: this process or the store.
#[derive(Clone, PartialEq, Eq)]
pub struct Family {
    pub(super) mark: [u8; 16],
    pub(super) current: [u8; 32],
    pub(super) used: Option<Used>,
    pub(super) session: String,
    /// `None` after a replay has ended it.
    pub(super) kept: Option<Vec<u8>>,
    pub(super) absolute_expiry_us: u64,
    pub(super) expiry_us: u64,
}

/// The token before the current one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) hash: [u8; 32],
    pub(super) salt: [u8; 32],
    pub(super) at_us: u64,
}

impl Family {
    /// A family that begins at `now_us` on the clock of its keeper.
    #[must_use]
    pub fn open(opening: NewFamily, config: &RefreshConfig, now_us: u64) -> Self {
        let absolute_expiry_us = now_us.saturating_add(micros(config.lifetime));
        Self {
            mark: opening.mark,
            current: opening.current,
            used: None,
            session: opening.session,
            kept: Some(opening.kept),
            absolute_expiry_us,
            expiry_us: forgotten(absolute_expiry_us, config, now_us),
        }
    }

    /// The remaining time for which to keep it, in milliseconds.
    #[must_use]
    pub fn left_ms(&self, now_us: u64) -> u64 {
        self.expiry_us.saturating_sub(now_us).div_ceil(1_000)
    }

    /// Whether no token of it can succeed any more.
    #[must_use]
    pub fn is_over(&self, now_us: u64) -> bool {
        now_us >= self.expiry_us
    }

    /// Uses a token. `remembered_us` is how long a family that ends here is remembered. A later use
    /// of its tokens then gets the same outcome, and its session is revoked again if necessary.
    pub fn present(
        &mut self,
        presented: &RefreshAttempt,
        config: &RefreshConfig,
        remembered_us: u64,
        now_us: u64,
    ) -> Outcome {
        if self.is_over(now_us) || presented.mark != self.mark {
            return Outcome::Unknown;
        }
        if let Some(kept) = &self.kept {
            // The next access token would be valid at a guard for which the login was not meant.
            // Nothing is used up.
            if !kept.starts_with(&presented.audience) {
                return Outcome::Unknown;
            }
            let login_s = login_s(kept).unwrap_or(0);
            if login_s > presented.latest_born_s {
                return Outcome::Ahead;
            }
            if login_s < presented.earliest_born_s {
                let is_over = now_us / 1_000_000 > login_s.saturating_add(longest_s(config));
                return if is_over { Outcome::Unknown } else { Outcome::Ahead };
            }
            if presented.presented == self.current {
                self.current = presented.successor;
                self.used =
                    Some(Used { hash: presented.presented, salt: presented.salt, at_us: now_us });
                self.expiry_us = forgotten(self.absolute_expiry_us, config, now_us);
                return Outcome::Next { salt: presented.salt, kept: kept.clone() };
            }
            let window_us = micros(config.reuse_window);
            let again = self.used.as_mut().filter(|used| {
                used.hash == presented.presented && used.at_us.abs_diff(now_us) < window_us
            });
            if let Some(used) = again {
                // The clock was set back by less than the window: the window does not open twice.
                used.at_us = used.at_us.min(now_us);
                return Outcome::Next { salt: used.salt, kept: kept.clone() };
            }
            self.kept = None;
            self.expiry_us = self.absolute_expiry_us.min(now_us.saturating_add(remembered_us));
        }
        Outcome::Reused { session: self.session.clone() }
    }

    /// The approximate size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        // The map has up to one and a half slots for each entry.
        let entry = size_of::<FamilyKey>() + size_of::<Self>();
        entry * 3 / 2 + self.session.len() + self.kept.as_ref().map_or(0, Vec::len)
    }
}

/// The age in seconds after which a session is over by any clock.
pub(crate) fn longest_s(config: &RefreshConfig) -> u64 {
    (config.lifetime + 2 * MAX_TOLERANCE).as_secs()
}

/// The second of the login, which [`SessionData::encode`] writes after the audience.
fn login_s(kept: &[u8]) -> Option<u64> {
    let (_, rest) = kept.split_first_chunk::<16>()?;
    rest.first_chunk::<8>().map(|born| u64::from_be_bytes(*born))
}

fn forgotten(absolute_expiry_us: u64, config: &RefreshConfig, now_us: u64) -> u64 {
    config.idle.map_or(absolute_expiry_us, |idle| {
        absolute_expiry_us.min(now_us.saturating_add(micros(idle)))
    })
}

/// The data of a family for its next access tokens.
#[derive(Clone, PartialEq)]
pub struct SessionData {
    /// The [`audience_mark`](crate::session::audience_mark) of the guard that began the session.
    pub audience: [u8; 16],
    /// The second of the login. A revocation of its subject at or after this second ends the
    /// family.
    pub login_s: u64,
    /// The lifetime of its access tokens, in seconds; `None` for the default.
    pub expires_in_s: Option<u64>,
    /// The claims, `sid` among them.
    pub claims: Map<String, Value>,
}

impl SessionData {
    /// The bytes for a store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // `Family::present` expects the audience at the start.
        let mut bytes = self.audience.to_vec();
        bytes.extend(self.login_s.to_be_bytes());
        bytes.extend(self.expires_in_s.unwrap_or(0).to_be_bytes());
        bytes.extend(Value::Object(self.claims.clone()).to_string().into_bytes());
        bytes
    }

    /// Reads the output of [`Self::encode`].
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (audience, rest) = bytes.split_first_chunk::<16>()?;
        let (born, rest) = rest.split_first_chunk::<8>()?;
        let (expires_in, claims) = rest.split_first_chunk::<8>()?;
        let Ok(Value::Object(claims)) = serde_json::from_slice(claims) else { return None };
        let expires_in_s = Some(u64::from_be_bytes(*expires_in)).filter(|seconds| *seconds > 0);
        let login_s = u64::from_be_bytes(*born);
        Some(Self { audience: *audience, login_s, expires_in_s, claims })
    }

    /// The claim `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    /// The claim `sid`.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        self.claims.get("sid").and_then(Value::as_str)
    }
}
