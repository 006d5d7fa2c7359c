//! Which CPUs the process may use, and pinning a thread to one of them.

use std::{io, mem};

use core_affinity::CoreId;

use crate::os;

/// Pins the calling thread to `cpu`. False when the kernel refuses, as for a CPU outside of the process's set.
#[must_use]
pub fn pin_current_thread(cpu: usize) -> bool {
    // The library panics on a number that its CPU set has no bit for.
    cpu < libc::CPU_SETSIZE as usize && core_affinity::set_for_current(CoreId { id: cpu })
}

/// Keeps the calling thread, and those that it starts from now on, off these CPUs, as long as it has others. A thread that pins itself
/// to one of them afterwards may.
///
/// # Errors
/// The kernel refuses, as for a thread whose set of CPUs others decide.
pub fn keep_off(cpus: &[usize]) -> io::Result<()> {
    let rest: Vec<usize> = allowed_cpus().into_iter().filter(|cpu| !cpus.contains(cpu)).collect();
    if rest.is_empty() {
        return Ok(());
    }
    // SAFETY: a set of bits, for which zeros are fine.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for cpu in rest.into_iter().filter(|cpu| *cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the set has a bit for this CPU.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the kernel reads a set of this size.
    os::check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) }).map(drop)
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

    #[test]
    fn keeps_off_cpus_as_long_as_there_are_others() {
        std::thread::spawn(|| {
            let all = allowed_cpus();
            keep_off(&all).unwrap();
            assert_eq!(allowed_cpus(), all);
            let (kept, rest) = all.split_at(1);
            keep_off(kept).unwrap();
            let here = if rest.is_empty() { kept } else { rest };
            assert_eq!(allowed_cpus(), here);
            std::thread::scope(|scope| {
                let heir = scope.spawn(|| (allowed_cpus(), pin_current_thread(kept[0]), allowed_cpus()));
                assert_eq!(heir.join().unwrap(), (here.to_vec(), true, kept.to_vec()));
            });
        })
        .join()
        .unwrap();
    }
}
