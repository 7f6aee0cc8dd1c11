//! Properties of the ledger, one module a subject. Proofs are made with the trapdoor of a test key.

mod accounts;
mod audits;
mod blocks;
mod certificates;
mod challenges;
mod governance;
mod holds;
mod labels;
mod latencies;
mod offences;
mod operating;
mod places;
mod proposals;
mod receipts;
mod rewards;
mod row_bittensor;
mod rows;
mod scoring;
mod states;
mod subnets;
mod tempo;
mod transactions;
mod trapdoor;
mod vectors;
mod world;
