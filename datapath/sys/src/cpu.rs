//! Which CPUs the process may use, and pinning a thread to one of them.

use core_affinity::CoreId;

/// Pins the calling thread to `cpu`. False when the kernel refuses, as for a CPU outside of the process's set.
#[must_use]
pub fn pin_current_thread(cpu: usize) -> bool {
    // The library panics on a number that its CPU set has no bit for.
    cpu < libc::CPU_SETSIZE as usize && core_affinity::set_for_current(CoreId { id: cpu })
}

/// The CPUs that the process may use, in ascending order; empty when the kernel does not say.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_to_an_allowed_cpu_and_to_no_other() {
        let cpu = allowed_cpus()[0];
        std::thread::spawn(move || {
            assert!(pin_current_thread(cpu));
            assert_eq!(allowed_cpus(), [cpu]);
            assert!(!pin_current_thread(1023));
            assert!(!pin_current_thread(1 << 14));
        })
        .join()
        .unwrap();
    }
}
