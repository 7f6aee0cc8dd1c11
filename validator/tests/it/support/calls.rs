//! Calls to a running validator, as a client makes them.

use std::net::SocketAddr;
use std::time::Duration;

use assay_proto::job::Job;
use assay_proto::receipt::{Receipt, Verdict};
use assay_proto::transaction::{Body, Transaction};
use assay_proto::wire::infer_response::Event;
use assay_proto::wire::inference_client::InferenceClient;
use assay_proto::wire::ledger_client::LedgerClient;
use assay_proto::{Canonical, JobId, PublicKey, SecretKey, Signed, wire};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Chain;
use super::miner::{Behaviour, FakeMiner};

/// Both services of one validator.
#[derive(Clone)]
pub struct Calls {
    pub inference: InferenceClient<Channel>,
    pub ledger: LedgerClient<Channel>,
}

impl Calls {
    pub async fn to(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.expect("a connection");
        Self {
            inference: InferenceClient::new(channel.clone()).max_decoding_message_size(64 << 20),
            ledger: LedgerClient::new(channel)
                .max_decoding_message_size(64 << 20)
                .max_encoding_message_size(64 << 20),
        }
    }

    pub async fn submit(&mut self, transaction: &Signed<Transaction>) -> Result<(u64, u32), Status> {
        let request = wire::SubmitTransactionRequest { transaction: Some(transaction.into()) };
        let response = self.ledger.submit_transaction(request).await?.into_inner();
        Ok((response.height, response.index))
    }

    pub async fn account(&mut self, key: PublicKey) -> wire::GetAccountResponse {
        let request = wire::GetAccountRequest { public_key: key.to_vec() };
        self.ledger.get_account(request).await.expect("an account").into_inner()
    }

    pub async fn start(
        &mut self,
        job: &Signed<Job>,
    ) -> Result<tonic::Streaming<wire::InferResponse>, Status> {
        let request = wire::InferRequest { job: Some(job.into()) };
        Ok(self.inference.infer(request).await?.into_inner())
    }

    /// Every event of a job.
    pub async fn infer(&mut self, job: &Signed<Job>) -> Result<Vec<Event>, Status> {
        let mut stream = self.start(job).await?;
        let mut events = Vec::new();
        while let Some(response) = stream.message().await? {
            events.push(response.event.expect("an event"));
        }
        Ok(events)
    }

    pub async fn receipts(&mut self, job: JobId) -> Vec<(u64, u32, Receipt)> {
        let request = wire::GetReceiptRequest { job_id: job.to_vec() };
        let response = self.inference.get_receipt(request).await.expect("receipts").into_inner();
        let receipt = |logged: wire::LoggedReceipt| {
            let signed = logged.transaction.expect("a transaction");
            let transaction = Transaction::decode(&signed.payload).expect("a transaction");
            match transaction.body {
                Body::Receipt(receipt) => (logged.height, logged.index, *receipt),
                other => panic!("not a receipt: {other:?}"),
            }
        };
        response.receipts.into_iter().map(receipt).collect()
    }

    /// The verdicts of a job, once there are `count`.
    pub async fn verdicts(&mut self, job: JobId, count: usize) -> Vec<Verdict> {
        for _ in 0..200 {
            let receipts = self.receipts(job).await;
            if receipts.len() >= count {
                return receipts.into_iter().map(|(_, _, receipt)| receipt.verdict).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("fewer than {count} receipts");
    }

    /// The export file.
    pub async fn export(&mut self) -> Vec<u8> {
        let mut stream = self.ledger.export(wire::ExportRequest {}).await.expect("an export").into_inner();
        let mut bytes = Vec::new();
        while let Some(response) = stream.message().await.expect("a chunk") {
            bytes.extend(response.chunk);
        }
        bytes
    }

    /// Registers the model, and a miner for each behaviour.
    pub async fn set_up(&mut self, chain: &Chain, behaviours: &[Behaviour]) -> Vec<FakeMiner> {
        self.submit(&chain.register_model(1)).await.expect("the model is registered");
        let mut miners = Vec::new();
        for (&behaviour, seed) in behaviours.iter().zip(10u8..) {
            miners.push(self.add_miner(chain, SecretKey::from_bytes(&[seed; 32]), behaviour).await);
        }
        miners
    }

    pub async fn add_miner(&mut self, chain: &Chain, key: SecretKey, behaviour: Behaviour) -> FakeMiner {
        let miner = FakeMiner::start(key, chain.chain_id().clone(), chain.model.clone(), behaviour).await;
        let transaction = chain.register_miner(&miner.key, &miner.endpoint());
        self.submit(&transaction).await.expect("the miner is registered");
        miner
    }
}

/// Short names of events, for comparison.
pub fn names(events: &[Event]) -> Vec<String> {
    let name = |event: &Event| match event {
        Event::Assigned(assigned) => format!("assigned {}", assigned.attempt),
        Event::Output(_) => "output".to_owned(),
        Event::Proof(_) => "proof".to_owned(),
        Event::AttemptFailed(failed) => format!("attempt failed: {:?}", failed.verdict()),
        Event::Committed(_) => "committed".to_owned(),
        Event::Failed(failed) => format!("failed: {:?}", failed.reason()),
    };
    events.iter().map(name).collect()
}
