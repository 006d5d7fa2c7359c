//! Doubly linked lists over entry numbers. Each entry is in exactly one list at any time; the links live here, away
//! from the entries, since packets that only refresh a deadline never touch them.
//!
//! A list is a ring through a node of its own, so that linking and unlinking never branch on "first" or "last".

use core::ops::Range;

use crate::table::bytes_of;

/// A list, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListId(pub u32);

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// The list that the node is in.
    list: ListId,
}

/// All links: first those of the entries, then one node for each list.
pub(crate) struct Lists {
    links: Vec<Link>,
    entries: u32,
}

impl Lists {
    /// `lists` empty lists over `entries` entries, except that `all_in` holds every entry, in order.
    pub(crate) fn new(entries: u32, lists: u32, all_in: ListId) -> Self {
        let ring = |node| Link { previous: node, next: node, list: all_in };
        let links = (0..entries + lists).map(ring).collect();
        let mut new = Self { links, entries };
        for entry in 0..entries {
            new.link_before(new.head(all_in), entry, all_in);
        }
        new
    }

    fn head(&self, list: ListId) -> u32 {
        self.entries + list.0
    }

    fn link_before(&mut self, next: u32, entry: u32, list: ListId) {
        let previous = self.links[next as usize].previous;
        self.links[entry as usize] = Link { previous, next, list };
        self.links[previous as usize].next = entry;
        self.links[next as usize].previous = entry;
    }

    fn unlink(&mut self, entry: u32) {
        let Link { previous, next, .. } = self.links[entry as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
    }

    /// Moves an entry from wherever it is to the end of a list.
    pub(crate) fn move_to_back(&mut self, entry: u32, list: ListId) {
        self.unlink(entry);
        self.link_before(self.head(list), entry, list);
    }

    /// Moves an entry from wherever it is to the front of a list.
    pub(crate) fn move_to_front(&mut self, entry: u32, list: ListId) {
        self.unlink(entry);
        let first = self.links[self.head(list) as usize].next;
        self.link_before(first, entry, list);
    }

    /// The first entry of a list.
    pub(crate) fn front(&self, list: ListId) -> Option<u32> {
        let first = self.links[self.head(list) as usize].next;
        (first < self.entries).then_some(first)
    }

    /// The list that an entry is in.
    pub(crate) fn list_of(&self, entry: u32) -> ListId {
        self.links[entry as usize].list
    }

    pub(crate) fn region(&self) -> Range<*const u8> {
        bytes_of(&self.links)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(lists: &mut Lists, list: ListId, into: ListId) -> Vec<u32> {
        core::iter::from_fn(|| {
            let first = lists.front(list)?;
            lists.move_to_back(first, into);
            Some(first)
        })
        .collect()
    }

    #[test]
    fn moves_keep_order() {
        let (a, b) = (ListId(0), ListId(1));
        let mut lists = Lists::new(4, 2, a);
        lists.move_to_back(1, b);
        lists.move_to_front(3, b);
        assert_eq!((lists.list_of(0), lists.list_of(3)), (a, b));
        lists.move_to_front(2, a);
        assert_eq!(drain(&mut lists, a, b), [2, 0]);
        assert_eq!(drain(&mut lists, b, a), [3, 1, 2, 0]);
        assert_eq!(lists.front(b), None);
    }

    #[test]
    fn no_entries_at_all() {
        assert_eq!(Lists::new(0, 2, ListId(1)).front(ListId(1)), None);
    }
}
