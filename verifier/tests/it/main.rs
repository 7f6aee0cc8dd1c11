//! Properties of the ledger, one module a subject. Proofs are made with the trapdoor of a test key.

mod audits;
mod blocks;
mod certificates;
mod proposals;
mod receipts;
mod rewards;
mod states;
mod transactions;
mod trapdoor;
mod world;
