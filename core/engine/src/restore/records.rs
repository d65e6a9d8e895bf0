//! The files of an image set, by their ids.

use criu_plugin_api::message::FileRecord;

/// The records of `files.img`. Each has a place, its position in the order of the ids, by which tables of the
/// restore tell files apart: ids may have any value.
#[derive(Debug, Default)]
pub(crate) struct Records(Vec<FileRecord>);

impl Records {
    /// Sorts the records of a set; the id of two of them if there are such.
    pub(crate) fn new(mut records: Vec<FileRecord>) -> Result<Self, u32> {
        records.sort_by_key(|record| record.id);
        match records.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(pair[0].id),
            None => Ok(Self(records)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a file.
    pub(crate) fn place(&self, id: u32) -> Option<usize> {
        // A dump numbers them from one, in a row.
        let guess = (id as usize).wrapping_sub(1);
        if self.0.get(guess).is_some_and(|record| record.id == id) {
            return Some(guess);
        }
        self.0.binary_search_by_key(&id, |record| record.id).ok()
    }

    pub(crate) fn get(&self, id: u32) -> Option<&FileRecord> {
        self.place(id).map(|place| &self.0[place])
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.place(id).is_some()
    }

    pub(crate) fn into_all(self) -> Vec<FileRecord> {
        self.0
    }

    /// All, in the order of their places.
    pub(crate) fn all(&self) -> &[FileRecord] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(ids: &[u32]) -> Result<Records, u32> {
        let of = |&id: &u32| FileRecord {
            id,
            ..FileRecord::default()
        };
        Records::new(ids.iter().map(of).collect())
    }

    #[test]
    fn files_are_found_by_any_id() {
        for ids in [&[1, 2, 3][..], &[7, 3, 1, u32::MAX, 0], &[5], &[]] {
            let found = records(ids).unwrap();
            let mut sorted = ids.to_vec();
            sorted.sort_unstable();
            assert_eq!(found.len(), ids.len());
            for (place, &id) in sorted.iter().enumerate() {
                assert_eq!((found.place(id), found.get(id).unwrap().id), (Some(place), id));
                assert!(found.contains(id));
            }
            for none in [2000, 4] {
                assert_eq!(found.place(none), None);
            }
        }
        assert_eq!(records(&[1, 2, 1]).unwrap_err(), 1);
    }
}
