//! Large pages under large tables. A table of a million flows lies on thirty thousand pages of 4 KiB, more than a processor
//! keeps addresses of: every random read would begin with a walk through the page tables, which under a hypervisor is
//! several reads more.

use std::ops::Range;
use std::ptr::without_provenance_mut;

/// Of x86-64 and, with pages of 4 KiB, of arm64.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Asks the kernel to put large pages under this memory, now if it can (Linux 6.1), or else in its own time. Advice only:
/// what is there stays as it is, and a kernel that cannot or may not (`never` in
/// `/sys/kernel/mm/transparent_hugepage/enabled`) leaves everything as it was.
pub fn use_huge_pages(memory: Range<*const u8>) {
    let start = memory.start.addr().next_multiple_of(HUGE_PAGE_BYTES);
    let Some(len) = (memory.end.addr() & !(HUGE_PAGE_BYTES - 1)).checked_sub(start).filter(|len| *len > 0) else {
        return;
    };
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
        // SAFETY: neither changes contents nor unmaps anything, whoever's memory it is; the kernel checks the range.
        let _ = unsafe { libc::madvise(without_provenance_mut(start), len, advice) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn huge_bytes(address: usize) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        let mut found = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            if let Some((from, to)) = first.split_once('-')
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                inside = (from..to).contains(&address);
            } else if inside && first == "AnonHugePages:" {
                found += words.next().unwrap().parse::<usize>().unwrap() * 1024;
            }
        }
        found
    }

    #[test]
    fn contents_stay_and_pages_are_large_where_the_kernel_allows_it() {
        let table: Vec<u64> = (0..2 << 20).collect();
        let range = table.as_ptr_range();
        use_huge_pages(range.start.cast()..range.end.cast());
        assert!(table.iter().zip(0..).all(|(have, want)| *have == want));
        let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        if setting.contains("[madvise]") || setting.contains("[always]") {
            let middle = range.start.addr() + size_of_val(&table[..]) / 2;
            assert!(huge_bytes(middle) >= HUGE_PAGE_BYTES, "{setting}");
        }
    }

    #[test]
    fn small_empty_and_foreign_ranges_are_left_alone() {
        let small = [1_u8; 100];
        use_huge_pages(small.as_ptr_range());
        let nowhere = std::ptr::null::<u8>();
        use_huge_pages(nowhere..nowhere);
        use_huge_pages(nowhere..nowhere.wrapping_add(8 << 20));
        assert_eq!(small, [1; 100]);
    }
}
