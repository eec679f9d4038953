//! What the machine offers, and which processors workers are bound to.

use super::SettingsError;
use crate::cli::Pin;
use crate::os;

/// What the machine offers.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Descriptors that the process may have.
    pub(crate) descriptors_max: u64,
    /// Descriptors that it has already: standard streams, signals, and whatever it was started with.
    pub(crate) descriptors_open: u64,
    /// Processors that it may run on.
    pub(crate) processors: Vec<usize>,
    /// Threads that can run at once, quotas of containers considered.
    pub(crate) parallelism: usize,
}

impl Machine {
    /// Looks at the machine, and raises our limit on descriptors.
    pub(crate) fn look() -> Self {
        Self {
            descriptors_max: os::raise_descriptor_limit(),
            descriptors_open: os::open_descriptors(),
            processors: os::processors(),
            parallelism: num_cpus::get(),
        }
    }
}

/// The processor of each worker, if it is bound to one.
///
/// # Errors
/// When the process may not run on one of those that are asked for.
pub(crate) fn processors(
    pin: &Pin,
    machine: &Machine,
    workers: usize,
) -> Result<Vec<Option<usize>>, SettingsError> {
    let list = match pin {
        Pin::Off => return Ok(vec![None; workers]),
        Pin::Auto => &machine.processors,
        Pin::List(list) => list,
    };
    if let Some(&processor) = list.iter().find(|processor| !machine.processors.contains(processor)) {
        return Err(SettingsError::Processor { processor, allowed: machine.processors.clone() });
    }
    if list.is_empty() {
        return Ok(vec![None; workers]);
    }
    Ok(list.iter().copied().cycle().take(workers).map(Some).collect())
}
