//! `Permissions-Policy`: the browser features that a page and its frames may use.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::options::{describe, did_you_mean, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::net::origin;

/// Off by default in both profiles: these features do the most damage in the hands of injected
/// script.
const OFF: [&str; 6] = ["camera", "display-capture", "geolocation", "microphone", "payment", "usb"];

/// The features that browsers support, standard or shipped. Browsers ignore others, so they are
/// refused here.
const FEATURES: [&str; 56] = [
    "accelerometer",
    "ambient-light-sensor",
    "aria-notify",
    "attribution-reporting",
    "autoplay",
    "battery",
    "bluetooth",
    "browsing-topics",
    "camera",
    "captured-surface-control",
    "clipboard-read",
    "clipboard-write",
    "compute-pressure",
    "cross-origin-isolated",
    "deferred-fetch",
    "deferred-fetch-minimal",
    "digital-credentials-get",
    "display-capture",
    "document-domain",
    "encrypted-media",
    "execution-while-not-rendered",
    "execution-while-out-of-viewport",
    "focus-without-user-activation",
    "fullscreen",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "join-ad-interest-group",
    "keyboard-map",
    "language-detector",
    "language-model",
    "local-fonts",
    "local-network-access",
    "magnetometer",
    "microphone",
    "midi",
    "on-device-speech-recognition",
    "otp-credentials",
    "payment",
    "picture-in-picture",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
    "speaker-selection",
    "storage-access",
    "sync-xhr",
    "unload",
    "usb",
    "web-share",
    "window-management",
    "xr-spatial-tracking",
    "summarizer",
];

/// Reads the option `permissionsPolicy` over the defaults; `None` means the defaults alone. Returns
/// the header's value, a dictionary of inner lists (RFC 9651 section 3.2). It is empty if every
/// feature was removed.
pub(super) fn parse(path: &str, value: Option<&Value>) -> Result<String, ConfigError> {
    let mut policy: BTreeMap<&str, String> =
        OFF.iter().map(|name| (*name, "()".to_owned())).collect();
    if let Some(value) = value {
        let Value::Object(map) = value else {
            return Err(ConfigError::invalid(
                path,
                format!("must be an object of features, not {}", describe(value)),
            )
            .suggest("write it as in { camera: ['self'], geolocation: [] }"));
        };
        for (key, list) in map {
            let path = format!("{path}.{key}");
            let Some(name) = FEATURES.iter().find(|name| **name == key) else {
                return Err(ConfigError::new(
                    ConfigCode::UnknownOption,
                    path,
                    "is not a feature that browsers know",
                )
                .suggest(did_you_mean(key, &FEATURES)));
            };
            match list {
                Value::Bool(false) => {
                    policy.remove(name);
                }
                Value::Array(items) => {
                    policy.insert(name, allowlist(&path, items)?);
                }
                other => {
                    return Err(ConfigError::invalid(
                        path,
                        format!("must be a list of origins or false, not {}", describe(other)),
                    )
                    .suggest("write [] to switch the feature off, ['self'] for this site alone"));
                }
            }
        }
    }
    let members: Vec<String> = policy.iter().map(|(name, list)| format!("{name}={list}")).collect();
    Ok(members.join(", "))
}

fn allowlist(path: &str, items: &[Value]) -> Result<String, ConfigError> {
    if let [one] = items
        && one == "*"
    {
        return Ok("*".to_owned());
    }
    let mut list: Vec<String> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let text = string_at(&path, item)?;
        let error = |problem: &str, suggestion: &str| {
            Err(ConfigError::invalid(&path, problem).suggest(suggestion))
        };
        let member = match text {
            "self" => text.to_owned(),
            "*" => {
                return error(
                    "must not stand beside other origins",
                    "write ['*'] alone, or the origins without it",
                );
            }
            "'self'" | "\"self\"" => {
                return error("must have no quotes inside the string", "write 'self'");
            }
            "none" | "'none'" => {
                return error("is no origin", "write an empty list to switch the feature off");
            }
            "src" | "'src'" => {
                return error(
                    "has a meaning in the allow attribute of a frame only",
                    "write 'self' or an origin",
                );
            }
            _ => match origin::parse(text) {
                Ok(origin) if origin.scheme == "https" || origin.scheme == "http" => {
                    format!("\"{text}\"")
                }
                Ok(_) => {
                    return error(
                        "must be an https origin",
                        "write 'self' or an origin such as 'https://example.com'",
                    );
                }
                Err(fault) => return error(fault.problem, fault.suggestion),
            },
        };
        if list.contains(&member) {
            return error("is listed twice", "leave out one of the two");
        }
        list.push(member);
    }
    Ok(format!("({})", list.join(" ")))
}
