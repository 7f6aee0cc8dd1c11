//! `assay infer` believes neither miners nor the validator.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use assay_circuits::ir::ModelId;
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::wire::infer_response::Event;
use assay_proto::wire::inference_server::{Inference, InferenceServer};
use assay_proto::wire::ledger_server::{Ledger, LedgerServer};
use assay_proto::{ChainId, Envelope, JobId, PublicKey, SecretKey, Signed, wire};
use assay_prover::cpu::CpuWorker;
use assay_prover::groth16::{Prover, ProvingKey};
use assay_prover::service::{Miner, MinerConfig, Registration, register};
use assay_prover::worker::{Inference as Run, Worker, WorkerError};
use tokio::net::TcpListener;
use tokio_stream::{Empty, Stream};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::assay;
use crate::support::network::{CHAIN, Chain};
use crate::support::{Ran, input, model};

/// What a validator and its miner do together to pass off an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// None: the answer is honest.
    None,
    /// The proof is of another input.
    OtherInput,
    /// The proof is of another job.
    OtherJob,
    /// The proof was made for another miner.
    OtherMiner,
    /// The output is one off.
    OtherOutput,
    /// The output does not fit the model.
    Misfit,
    /// The proof's bytes are changed.
    ChangedProof,
    /// There is no proof.
    NoProof,
    /// Nothing but the claim that all is well.
    Nothing,
    /// An honest answer, and no word of its receipt.
    NoReceipt,
    /// No word at all, for ever.
    Silence,
    /// A miner signed that was not assigned.
    Unassigned,
    /// The signature is of another message.
    WrongSignature,
    /// The key that the validator sends is of another model.
    OtherKey,
}

struct Fake {
    trick: Trick,
    chain: ChainId,
    miner: SecretKey,
    worker: CpuWorker,
    verifying_key: Vec<u8>,
    model: ModelId,
}

impl Fake {
    fn events(&self, job: &Signed<Job>) -> Vec<Event> {
        let id = job.id(&self.chain);
        let key = self.miner.public_key();
        let assigned = Event::Assigned(wire::Assigned {
            job_id: id.to_vec(),
            miner: key.to_vec(),
            attempt: 1,
            signers: Vec::new(),
        });
        let committed = Event::Committed(wire::Committed { height: 1, index: 0 });
        let mut events = vec![assigned];
        if self.trick != Trick::Nothing {
            events.extend(self.answer(job, id, key));
        }
        if self.trick != Trick::NoReceipt {
            events.push(committed);
        }
        events
    }

    fn answer(&self, job: &Signed<Job>, id: JobId, key: PublicKey) -> Vec<Event> {
        let mut inputs = job.value().inputs.clone();
        let (mut of, mut by) = (id, key);
        match self.trick {
            Trick::OtherInput => inputs[0][0] ^= 1,
            Trick::OtherJob => of = JobId([3; 32]),
            Trick::OtherMiner => by = PublicKey([4; 32]),
            _ => {}
        }
        let run = self.worker.infer(&self.model, &inputs).expect("inference");
        let mut outputs = run.outputs.clone();
        let mut proof = self.worker.prove(run, job_binding(&self.chain, &of, &by)).expect("proof");
        match self.trick {
            Trick::OtherOutput => outputs[0][0] ^= 1,
            Trick::Misfit => drop(outputs[0].pop()),
            Trick::ChangedProof => proof[40] ^= 1,
            _ => {}
        }
        let signer = match self.trick {
            Trick::Unassigned => SecretKey::from_bytes(&[9; 32]),
            _ => self.miner.clone(),
        };
        let output = signer.sign(&self.chain, Output { job_id: id, outputs, compute_us: 1 }).into_envelope();
        let mut proof =
            signer.sign(&self.chain, Proof { job_id: id, proof, prove_us: 1, elapsed_us: 0 }).into_envelope();
        if self.trick == Trick::WrongSignature {
            proof.signature = output.signature;
        }
        let mut events = vec![Event::Output(output.into())];
        if self.trick != Trick::NoProof {
            events.push(Event::Proof(proof.into()));
        }
        events
    }
}

#[tonic::async_trait]
impl Inference for Fake {
    type InferStream = Pin<Box<dyn Stream<Item = Result<wire::InferResponse, Status>> + Send>>;

    async fn infer(
        &self,
        request: Request<wire::InferRequest>,
    ) -> Result<Response<Self::InferStream>, Status> {
        if self.trick == Trick::Silence {
            return Ok(Response::new(Box::pin(tokio_stream::pending())));
        }
        let job = Envelope::try_from(request.into_inner().job.expect("a job")).expect("an envelope");
        let job = job.open::<Job>(&self.chain).expect("signed by the client");
        let events = tokio::task::block_in_place(|| self.events(&job));
        let events: Vec<_> =
            events.into_iter().map(|event| Ok(wire::InferResponse { event: Some(event) })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(events))))
    }

    async fn get_receipt(
        &self,
        _: Request<wire::GetReceiptRequest>,
    ) -> Result<Response<wire::GetReceiptResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_models(
        &self,
        _: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        let model_id = if self.trick == Trick::OtherKey { vec![1; 32] } else { self.model.0.to_vec() };
        let entry = wire::ModelEntry {
            model_id,
            name: "digits".to_owned(),
            verifying_key: self.verifying_key.clone(),
            owner: vec![0; 32],
            miners: 1,
        };
        Ok(Response::new(wire::ListModelsResponse { models: vec![entry] }))
    }
}

#[tonic::async_trait]
impl Ledger for Fake {
    type StreamBlocksStream = Empty<Result<wire::StreamBlocksResponse, Status>>;
    type ExportStream = Empty<Result<wire::ExportResponse, Status>>;
    type GetSnapshotStream = Empty<Result<wire::GetSnapshotResponse, Status>>;

    async fn get_account(
        &self,
        _: Request<wire::GetAccountRequest>,
    ) -> Result<Response<wire::GetAccountResponse>, Status> {
        let chain_id = self.chain.as_str().to_owned();
        Ok(Response::new(wire::GetAccountResponse { chain_id, ..wire::GetAccountResponse::default() }))
    }

    async fn submit_transaction(
        &self,
        _: Request<wire::SubmitTransactionRequest>,
    ) -> Result<Response<wire::SubmitTransactionResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_block(
        &self,
        _: Request<wire::GetBlockRequest>,
    ) -> Result<Response<wire::GetBlockResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn stream_blocks(
        &self,
        _: Request<wire::StreamBlocksRequest>,
    ) -> Result<Response<Self::StreamBlocksStream>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_epoch_report(
        &self,
        _: Request<wire::GetEpochReportRequest>,
    ) -> Result<Response<wire::GetEpochReportResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn list_subnets(
        &self,
        _: Request<wire::ListSubnetsRequest>,
    ) -> Result<Response<wire::ListSubnetsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn prove_record(
        &self,
        _: Request<wire::ProveRecordRequest>,
    ) -> Result<Response<wire::ProveRecordResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn prove_transaction(
        &self,
        _: Request<wire::ProveTransactionRequest>,
    ) -> Result<Response<wire::ProveTransactionResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn export(&self, _: Request<wire::ExportRequest>) -> Result<Response<Self::ExportStream>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_status(
        &self,
        _: Request<wire::GetStatusRequest>,
    ) -> Result<Response<wire::GetStatusResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn get_snapshot(
        &self,
        _: Request<wire::GetSnapshotRequest>,
    ) -> Result<Response<Self::GetSnapshotStream>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

fn worker(chain: &Chain) -> CpuWorker {
    let key = ProvingKey::read(chain.files.read("keys/digits.pk").as_slice(), &model()).expect("key");
    CpuWorker::new([Prover::new(model(), key).expect("prover")])
}

/// Runs `work` beside a server, in a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

async fn ask_fake(chain: &Chain, trick: Trick) -> Ran {
    let fake = Arc::new(Fake {
        trick,
        chain: chain.chain_id(),
        miner: chain.secret("miner.key"),
        worker: worker(chain),
        verifying_key: chain.files.read("keys/digits.vk"),
        model: model().id(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("address");
    let server = Server::builder()
        .add_service(InferenceServer::from_arc(Arc::clone(&fake)))
        .add_service(LedgerServer::from_arc(fake))
        .serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);
    let infer = chain.infer(&format!("http://{address}"));
    let ran = blocking(move || assay!("{infer} --wait-verified --patience 2")).await;
    server.abort();
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn giza_a_lying_validator_gets_nothing_printed() {
    let chain = Chain::new();
    let honest = ask_fake(&chain, Trick::None).await.ok();
    assert!(honest.starts_with("verified ") && honest.contains("committed  height 1"), "{honest}");
    let unpaid = ask_fake(&chain, Trick::NoReceipt).await.ok();
    assert!(unpaid.starts_with("verified ") && unpaid.contains("not seen in a block"), "{unpaid}");
    for trick in [
        Trick::OtherInput,
        Trick::OtherJob,
        Trick::OtherMiner,
        Trick::OtherOutput,
        Trick::Misfit,
        Trick::ChangedProof,
    ] {
        let ran = ask_fake(&chain, trick).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{trick:?}: {ran:?}");
        assert!(
            ran.stderr.starts_with("not verified: ") && ran.stderr.lines().count() == 1,
            "{trick:?}: {ran:?}"
        );
    }
    for (trick, why) in [
        (Trick::NoProof, "committed an answer"),
        (Trick::Nothing, "committed an answer"),
        (Trick::Silence, "did not end within 2 s"),
        (Trick::Unassigned, "not assigned"),
        (Trick::WrongSignature, "signature"),
        (Trick::OtherKey, "sent the key of model"),
    ] {
        ask_fake(&chain, trick).await.refused(why);
    }
}

/// Proves another input than the one it was given.
struct Liar(CpuWorker);

impl Worker for Liar {
    fn models(&self) -> Vec<ModelId> {
        self.0.models()
    }

    fn backend(&self) -> String {
        self.0.backend()
    }

    fn infer(&self, model: &ModelId, _inputs: &[Vec<i32>]) -> Result<Run, WorkerError> {
        let other = input(5).iter().map(|&value| value as i32).collect();
        self.0.infer(model, &[other])
    }

    fn prove(&self, run: Run, job: [u8; 32]) -> Result<Vec<u8>, WorkerError> {
        self.0.prove(run, job)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn giza_a_lying_miner_gets_nothing_printed_and_nothing_paid() {
    let chain = Chain::new();
    let validator = chain.start();
    let url = validator.url();
    chain.register_model(&url);
    let listen: SocketAddr = ([127, 0, 0, 1], 0).into();
    let secret = chain.secret("miner.key");
    let owner = secret.public_key();
    let config = MinerConfig {
        listen,
        chain_id: chain.chain_id(),
        owner,
        queue_capacity: 4,
        devices: Default::default(),
    };
    let liar = Liar(worker(&chain));
    let models = liar.models();
    let miner = Miner::start(config, secret.clone(), Arc::new(liar)).await.expect("miner");
    let registration = Registration {
        tls: None,
        validator: url.clone(),
        chain_id: ChainId::new(CHAIN).expect("chain id"),
        owner,
        endpoint: format!("http://{}", miner.local_addr()),
        models,
        devices: Default::default(),
        patience: std::time::Duration::from_secs(5),
    };
    register(&registration, &secret).await.expect("registered");

    let infer = chain.infer(&url);
    let ran = blocking(move || assay!("{infer} --wait-verified")).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.stderr.contains("invalid proof") && ran.stderr.lines().count() == 1, "{ran:?}");

    let account = chain.miner.clone();
    let status =
        blocking(move || assay!("validator status --endpoint {url} --account {account} --json")).await.json();
    assert_eq!(status["account"]["balance"], 0);
    assert_eq!(status["account"]["miner"]["earned"], 0);
    assert_eq!(status["account"]["miner"]["reputation_ppm"], 0);
    miner.shutdown().await.expect("stopped");
}
