//! The only source of random bytes, so that a simulated history can be repeated.

/// Fills `bytes` from the source of the operating system.
///
/// # Errors
/// If that source fails.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(test)]
    if crate::simulation::fill_random(bytes) {
        return Ok(());
    }
    getrandom::fill(bytes)
}

/// A random number.
///
/// # Errors
/// As [`fill`].
pub(crate) fn number() -> Result<u32, getrandom::Error> {
    let mut bytes = [0; 4];
    fill(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
