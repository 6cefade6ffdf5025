//! Switches for the tests that prove what each protection is worth.
//!
//! In a normal build every method is a constant: protections are on and no step fails. Only the feature
//! `test-hooks`, which no release has, reads the three variables `DONJON_TEST_WITHOUT` (a protection's name),
//! `DONJON_TEST_FAIL_STEP` and `DONJON_TEST_DIE_STEP` (a step's index).

use rustix::io::Errno;

/// The switches.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    #[cfg(feature = "test-hooks")]
    without: Vec<String>,
    #[cfg(feature = "test-hooks")]
    fail: Option<usize>,
    #[cfg(feature = "test-hooks")]
    die: Option<usize>,
}

/// Whether a protection is on, for code that has no [`Hooks`] at hand. Always in a normal build.
#[inline]
pub fn protects(what: &str) -> bool {
    Hooks::read().protects(what)
}

#[cfg(feature = "test-hooks")]
static NAIVE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Whether paths of the container are followed as a careless runtime would follow them. Never in a normal build.
#[inline]
pub(crate) fn naive() -> bool {
    #[cfg(feature = "test-hooks")]
    return NAIVE.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "test-hooks"))]
    false
}

#[cfg(not(feature = "test-hooks"))]
impl Hooks {
    pub fn read() -> Self {
        Self::default()
    }

    #[inline]
    pub fn protects(&self, _what: &str) -> bool {
        true
    }

    #[inline]
    pub fn before(&self, _step: usize) -> Result<(), Errno> {
        Ok(())
    }
}

#[cfg(feature = "test-hooks")]
impl Hooks {
    pub fn read() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse().ok());
        let hooks = Self {
            without: std::env::var("DONJON_TEST_WITHOUT")
                .map(|v| v.split(',').map(str::to_string).collect())
                .unwrap_or_default(),
            fail: number("DONJON_TEST_FAIL_STEP"),
            die: number("DONJON_TEST_DIE_STEP"),
        };
        NAIVE.store(!hooks.protects("resolver"), std::sync::atomic::Ordering::Relaxed);
        hooks
    }

    pub fn protects(&self, what: &str) -> bool {
        !self.without.iter().any(|w| w == what)
    }

    pub fn before(&self, step: usize) -> Result<(), Errno> {
        if self.die == Some(step) {
            // Pid 1 of a namespace can't kill itself; ending without a word is the same to everybody else.
            donjon_sys::clone::exit_now(137);
        }
        if self.fail == Some(step) { Err(Errno::IO) } else { Ok(()) }
    }
}
