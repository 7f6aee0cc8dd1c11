//! From an older schema to this program's, one version after another.
//!
//! ```text
//! schema v  --step v-->  schema v + 1      one synced, atomic write: what the step changes, and the new version
//! ```
//!
//! So a crash leaves the database at one of the versions, and the next start goes on from there. A step reads the database
//! as its version left it, and must not use what later versions changed: their functions are not its own.

use rocksdb::{IteratorMode, WriteBatch};

use super::{Store, schema};
use crate::error::Error;

/// What a step adds to the write that ends it.
pub type Step = fn(&Store, &mut WriteBatch) -> Result<(), Error>;

/// Entry `i` leads from schema `i + 1` to schema `i + 2`. Entries are never changed once released.
pub const STEPS: &[Step] = &[subnets, refuse_older_blocks];

/// To 2, which may hold records of subnets and of votes; nothing else differs.
fn subnets(_: &Store, _: &mut WriteBatch) -> Result<(), Error> {
    Ok(())
}

/// To 3, whose blocks commit to their transactions by a tree, and to a state in which places count challenges. Those of before
/// commit to other things, for good: a log that has any is no log of this version.
fn refuse_older_blocks(store: &Store, _: &mut WriteBatch) -> Result<(), Error> {
    match store
        .db
        .iterator_cf(store.family(schema::Family::Blocks)?, IteratorMode::Start)
        .next()
        .transpose()?
    {
        Some(_) => Err(Error::OlderChain),
        None => Ok(()),
    }
}

/// The schema after every step.
pub const fn newest(steps: &[Step]) -> u32 {
    // There are few.
    steps.len() as u32 + 1
}

const _: () = assert!(newest(STEPS) == schema::SCHEMA);

impl Store {
    /// Runs the steps that a database of version `found` has before it.
    pub(super) fn migrate(&self, found: u32, steps: &[Step]) -> Result<(), Error> {
        for (version, step) in (1_u32..).zip(steps).skip_while(|(version, _)| *version < found) {
            let mut batch = WriteBatch::default();
            step(self, &mut batch)?;
            let next = version + 1;
            batch.put_cf(self.family(schema::Family::Meta)?, schema::META_SCHEMA, next.to_be_bytes());
            self.write(batch)?;
            tracing::info!(from = version, to = next, "the database was migrated");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use assay_proto::genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters};
    use assay_proto::{ChainId, JobId, PublicKey, SecretKey};

    use super::*;
    use crate::store::schema::{Family, META_SCHEMA};

    fn genesis() -> Genesis {
        let public_key = SecretKey::from_bytes(&[1; 32]).public_key();
        Genesis {
            chain_id: ChainId::new("test-migrations").expect("chain id"),
            time_ms: 1,
            validators: vec![GenesisValidator { public_key, power: 1 }],
            accounts: vec![GenesisAccount { public_key: PublicKey([2; 32]), balance: 5 }],
            parameters: Parameters::default(),
            classes: Vec::new(),
        }
    }

    fn version(store: &Store) -> Vec<u8> {
        store.get(Family::Meta, META_SCHEMA).expect("reads").expect("a version")
    }

    /// Marks that it ran, after what was there.
    fn mark(store: &Store, batch: &mut WriteBatch, name: u8) -> Result<(), Error> {
        let mut marks = store.get(Family::Meta, b"marks")?.unwrap_or_default();
        marks.push(name);
        batch.put_cf(store.family(Family::Meta)?, b"marks", marks);
        Ok(())
    }

    fn first(store: &Store, batch: &mut WriteBatch) -> Result<(), Error> {
        mark(store, batch, b'a')
    }

    fn second(store: &Store, batch: &mut WriteBatch) -> Result<(), Error> {
        mark(store, batch, b'b')
    }

    fn failing(_: &Store, batch: &mut WriteBatch) -> Result<(), Error> {
        batch.clear();
        Err(Error::Corrupt { what: "a step that fails".into() })
    }

    #[test]
    fn an_older_database_is_led_through_every_step_in_order_once() {
        let (dir, genesis) = (tempfile::tempdir().expect("a folder"), genesis());
        drop(Store::open_with(dir.path(), &genesis, &[]).expect("made by the oldest program"));
        for _ in 0..2 {
            let (store, _) = Store::open_with(dir.path(), &genesis, &[first, second]).expect("migrated");
            assert_eq!(version(&store), 3_u32.to_be_bytes());
            assert_eq!(store.get(Family::Meta, b"marks").expect("reads").as_deref(), Some(b"ab".as_slice()));
        }
        let refused = Store::open_with(dir.path(), &genesis, &[first]).expect_err("an older program");
        assert!(matches!(refused, Error::NewerSchema { found: 3, known: 2, .. }));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it_and_the_next_start_goes_on_from_there() {
        let (dir, genesis) = (tempfile::tempdir().expect("a folder"), genesis());
        drop(Store::open_with(dir.path(), &genesis, &[]).expect("made"));
        let refused = Store::open_with(dir.path(), &genesis, &[first, failing]).expect_err("fails");
        assert!(matches!(refused, Error::Corrupt { .. }));
        let (store, _) = Store::open_with(dir.path(), &genesis, &[first]).expect("the first step was done");
        assert_eq!(version(&store), 2_u32.to_be_bytes());
        drop(store);
        let (store, _) = Store::open_with(dir.path(), &genesis, &[first, second]).expect("goes on");
        assert_eq!(store.get(Family::Meta, b"marks").expect("reads").as_deref(), Some(b"ab".as_slice()));
    }

    #[test]
    fn a_new_database_has_the_newest_schema_and_runs_no_step() {
        let (dir, genesis) = (tempfile::tempdir().expect("a folder"), genesis());
        let (store, _) = Store::open_with(dir.path(), &genesis, &[first, second]).expect("made");
        assert_eq!(version(&store), 3_u32.to_be_bytes());
        assert_eq!(store.get(Family::Meta, b"marks").expect("reads"), None);
        assert!(store.receipts(&JobId([0; 32])).expect("reads").is_empty());
    }
}
