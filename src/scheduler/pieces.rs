//! A list in pieces: what millions of timers lie in.
//!
//! Its memory is what its items take and at most an eighth or a piece more, also while it grows: nothing of it is ever
//! copied to make room, and it is given back piece by piece as the list is emptied. Order is kept.

/// Items of a full piece: some 64 KiB of timers.
const PIECE: usize = 4_096;
/// A list that was emptied keeps its memory if it is for no more items than this.
pub(super) const KEPT_ROOM: usize = 16;

/// The list.
#[derive(Debug)]
pub(super) struct Pieces<T> {
    /// All but the last are full, and none is empty but the only one.
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Pieces<T> {
    fn default() -> Self {
        Self { pieces: Vec::new() }
    }
}

impl<T> Pieces<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.first().is_none_or(Vec::is_empty)
    }

    pub(super) fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    /// Puts an item last.
    pub(super) fn push(&mut self, item: T) {
        if self.pieces.last().is_none_or(|last| last.len() == PIECE) {
            self.pieces.push(Vec::new());
        }
        let last = self.pieces.last_mut().expect("pushed just above if there was none");
        if last.len() == last.capacity() {
            // By an eighth: there are thousands of slots.
            let more = (last.len() / 8).max(4).min(PIECE - last.len());
            last.reserve_exact(more);
        }
        last.push(item);
    }

    /// Hands the items to `each`, first to last, and gives their memory back on the way; a small room is left.
    pub(super) fn empty(&mut self, mut each: impl FnMut(T)) {
        if let [only] = self.pieces.as_mut_slice()
            && only.capacity() <= KEPT_ROOM
        {
            only.drain(..).for_each(each);
            return;
        }
        for piece in std::mem::take(&mut self.pieces) {
            piece.into_iter().for_each(&mut each);
        }
    }

    /// Whether it has no room at all.
    pub(super) const fn has_no_room(&self) -> bool {
        self.pieces.is_empty()
    }

    /// How many items it has room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.pieces.iter().map(Vec::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_in_their_order_and_room_is_tight() {
        for count in [0, 1, 4, 5, 16, 17, 4_095, 4_096, 4_097, 50_000] {
            let mut pieces = Pieces::default();
            for item in 0..count {
                assert_eq!(pieces.is_empty(), item == 0);
                pieces.push(item);
                let len = item + 1;
                assert!(pieces.capacity() <= len + (len / 8).clamp(4, PIECE / 8), "{len}");
            }
            assert_eq!(pieces.len(), count);
            let mut next = 0;
            pieces.empty(|item| {
                assert_eq!(item, next);
                next += 1;
            });
            assert_eq!(next, count, "all of them");
            assert!(pieces.is_empty() && pieces.capacity() <= KEPT_ROOM, "{count}");
            assert!(pieces.has_no_room() || (1..=KEPT_ROOM).contains(&count), "{count}");
            pieces.push(7);
            assert_eq!((pieces.len(), pieces.is_empty()), (1, false));
        }
    }
}
