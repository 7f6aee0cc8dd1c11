//! What the database takes of memory and disk, as RocksDB counts it.

use rocksdb::properties::{
    BLOCK_CACHE_USAGE, CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_TABLE_READERS_MEM, LIVE_SST_FILES_SIZE, PropName,
};

use super::Store;
use super::schema::Family;
use crate::error::Error;

/// Bytes, of all families together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Of memory: what was written and is in no sorted file yet.
    pub memtables: u64,
    /// Of memory: what was read from files, their indices included.
    pub block_cache: u64,
    /// Of memory: what RocksDB keeps of every open file outside that cache.
    pub table_readers: u64,
    /// Of the disk: sorted files. The write-ahead log is beside them.
    pub files: u64,
}

impl Store {
    /// What it takes now.
    pub fn usage(&self) -> Result<Usage, Error> {
        let of = |family, name: &PropName| -> Result<u64, Error> {
            Ok(self.db.property_int_value_cf(self.family(family)?, name)?.unwrap_or_default())
        };
        let total =
            |name: &PropName| Family::ALL.map(|family| of(family, name)).into_iter().sum::<Result<u64, _>>();
        Ok(Usage {
            memtables: total(CUR_SIZE_ALL_MEM_TABLES)?,
            // One cache serves them all.
            block_cache: of(Family::Blocks, BLOCK_CACHE_USAGE)?,
            table_readers: total(ESTIMATE_TABLE_READERS_MEM)?,
            files: total(LIVE_SST_FILES_SIZE)?,
        })
    }
}
