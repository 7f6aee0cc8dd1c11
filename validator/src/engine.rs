//! The engine of a chain whose blocks one validator decides alone: its power is more than two thirds.
//!
//! It makes a block when transactions wait (after `gather`, so that a burst shares one), and, once per
//! `block_interval`, when the running epoch has work and must come to its end. No other empty block is made.
//! A BFT engine takes this module's place behind the same [`Application`].

use std::sync::Arc;

use assay_proto::block::{Block, CommitCertificate, CommitSignature, Precommit};
use assay_proto::{Height, SecretKey};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use crate::application::Application;
use crate::clock;
use crate::config::EngineConfig;
use crate::error::Error;
use crate::stop::{Stopped, stopping};

/// Decides blocks with this validator's signature alone.
#[derive(Debug)]
pub struct Engine {
    application: Arc<Application>,
    key: SecretKey,
    config: EngineConfig,
}

impl Engine {
    /// Refuses a key whose power is not a quorum of its own.
    pub fn new(application: Arc<Application>, key: SecretKey, config: EngineConfig) -> Result<Self, Error> {
        let (state, own) = (application.state(), key.public_key());
        let validators = state.validators();
        let power = validators.iter().find(|(validator, _)| *validator == own);
        let (_, power) = power.ok_or(Error::NotValidator(own))?;
        if !validators.is_quorum(power) {
            return Err(Error::NoQuorum { power, total: validators.total() });
        }
        Ok(Self { application, key, config })
    }

    /// Decides blocks until told to stop. An error is a fault of this node: it must not go on.
    pub async fn run(self, stopped: Stopped) -> Result<(), Error> {
        let engine = Arc::new(self);
        let mut ticks = interval(engine.config.block_interval());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopping(stopped.clone()) => return Ok(()),
                () = engine.reason(&mut ticks) => {}
            }
            let step = Arc::clone(&engine);
            tokio::task::spawn_blocking(move || step.step()).await??;
            ticks.reset();
        }
    }

    /// Resolves when there is a reason for a block.
    async fn reason(&self, ticks: &mut Interval) {
        let mempool = self.application.mempool();
        if !mempool.is_empty() {
            return;
        }
        tokio::select! {
            () = mempool.arrived() => sleep(self.config.gather()).await,
            _ = ticks.tick(), if self.application.has_work() => {}
        }
    }

    /// Proposes, validates and decides the next block, if there is a reason for one.
    pub fn step(&self) -> Result<Option<Height>, Error> {
        let block = self.application.propose(clock::unix_ms())?;
        if block.transactions.is_empty() && !self.application.has_work() {
            return Ok(None);
        }
        self.application.validate(&block)?;
        let height = self.application.decide(self.certify(&block))?;
        tracing::info!(%height, transactions = block.transactions.len(), "block decided");
        Ok(Some(height))
    }

    /// This validator's precommit, which is a certificate.
    fn certify(&self, block: &Block) -> CommitCertificate {
        let precommit = Precommit { height: block.header.height, round: 0, block_hash: block.header.hash() };
        let signed = self.key.sign(&block.header.chain_id, precommit.vote());
        let signature =
            CommitSignature { validator: signed.signer(), signature: signed.envelope().signature };
        CommitCertificate { precommit, signatures: vec![signature] }
    }
}
