//! Miners that answer over gRPC, honestly or in one of the ways that a validator must withstand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assay_proto::challenge::{Challenge, ChallengeAnswer};
use assay_proto::job::{Job, Output, Proof, job_binding};
use assay_proto::wire::execute_response::Event;
use assay_proto::wire::miner_server::{Miner, MinerServer};
use assay_proto::{ChainId, Envelope, JobId, PublicKey, SecretKey, Signed, wire};
use assay_verifier::challenge::work::Work;
use assay_verifier::proof::Statement;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::model::TestModel;

/// What a miner does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Output and proof, at once.
    Honest,
    /// Output and proof, the proof after this time.
    ProofAfter(Duration),
    /// Output and proof, at once, and no answer to a ping.
    NoPing,
    /// An output, and after this time a proof that another key signed.
    StrangersProof(Duration),
    /// Never answers.
    Silent,
    /// Refuses every call.
    Refuses,
    /// Ends the stream after the output.
    OutputOnly,
    /// Sends the proof first.
    ProofFirst,
    /// A wrong output with a proof of the right one.
    OtherOutput,
    /// Random bytes for a proof.
    GarbageProof,
    /// Output and proof, as the operating key of this owner.
    Operates(PublicKey),
    /// A proof bound to another miner's key: the replay of somebody else's answer.
    OtherMinersProof,
    /// A well-made answer to another job, with its own id.
    OtherJob,
    /// Signs with a key that is not the registered one.
    OtherSigner,
    /// A signature made for another chain.
    OtherChain,
    /// An output of the wrong shape, then silence.
    Malformed,
    /// An output over the message limit.
    Oversized,
    /// An empty message.
    Nothing,
    /// The honest answer, then messages without end.
    Endless,
}

/// What a miner does with a challenge of its device, which it says is of class 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trick {
    /// The right rows, at once.
    #[default]
    None,
    /// The right rows, after this time.
    Slow(Duration),
    /// The right rows, signed for another class.
    OtherClass,
    /// Rows that the work does not give.
    WrongRows,
    /// An answer that somebody else signed.
    OtherSigner,
    /// No answer.
    Refuses,
}

/// A running miner.
pub struct FakeMiner {
    pub key: SecretKey,
    pub address: SocketAddr,
    pub served: Arc<Served>,
    /// May be changed while it runs.
    pub trick: Arc<Mutex<Trick>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

/// What a miner has seen.
#[derive(Debug, Default)]
pub struct Served {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl Served {
    /// Calls so far.
    pub fn all(&self) -> usize {
        self.all.load(Ordering::SeqCst)
    }

    /// The most calls at one time.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    fn begin(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeMiner {
    pub async fn start(key: SecretKey, chain: ChainId, model: TestModel, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let served = Arc::new(Served::default());
        let trick = Arc::new(Mutex::new(Trick::None));
        let (key_, served_, trick_) = (key.clone(), Arc::clone(&served), Arc::clone(&trick));
        let answers = Answers { key: key_, chain, model, behaviour, served: served_, trick: trick_ };
        let service = MinerServer::new(Service(Arc::new(answers))).max_encoding_message_size(64 << 20);
        let server = Server::builder().add_service(service);
        let server = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { key, address, served, trick, server }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for FakeMiner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Answers {
    key: SecretKey,
    chain: ChainId,
    model: TestModel,
    behaviour: Behaviour,
    served: Arc<Served>,
    trick: Arc<Mutex<Trick>>,
}

struct Service(Arc<Answers>);

#[tonic::async_trait]
impl Miner for Service {
    async fn describe(
        &self,
        _request: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        Err(Status::unimplemented("not needed here"))
    }

    async fn ping(
        &self,
        _request: Request<wire::PingRequest>,
    ) -> Result<Response<wire::PingResponse>, Status> {
        if self.0.behaviour == Behaviour::NoPing {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(wire::PingResponse {}))
    }

    async fn challenge(
        &self,
        request: Request<wire::ChallengeRequest>,
    ) -> Result<Response<wire::ChallengeResponse>, Status> {
        let trick = *self.0.trick.lock().expect("a trick");
        let signed = request.into_inner().challenge.expect("a challenge");
        let challenge: Signed<Challenge> =
            Envelope::try_from(signed).expect("an envelope").open(&self.0.chain).expect("a challenge");
        let id = challenge.id(&self.0.chain);
        let work = Work::of(challenge.value(), &id);
        let rows = work.rows(&(0..work.side).collect::<Vec<_>>());
        let honest = ChallengeAnswer { challenge: id, device_class: 1, rows, compute_us: 1 };
        let (key, answer) = match trick {
            Trick::None => (self.0.key.clone(), honest),
            Trick::Slow(time) => {
                tokio::time::sleep(time).await;
                (self.0.key.clone(), honest)
            }
            Trick::OtherClass => (self.0.key.clone(), ChallengeAnswer { device_class: 2, ..honest }),
            Trick::WrongRows => {
                (self.0.key.clone(), ChallengeAnswer { rows: vec![[0; 8]; honest.rows.len()], ..honest })
            }
            Trick::OtherSigner => (SecretKey::from_bytes(&[77; 32]), honest),
            Trick::Refuses => return Err(Status::unavailable("no")),
        };
        let answer = Some((&key.sign(&self.0.chain, answer)).into());
        Ok(Response::new(wire::ChallengeResponse { answer }))
    }

    type ExecuteStream = ReceiverStream<Result<wire::ExecuteResponse, Status>>;

    async fn execute(
        &self,
        request: Request<wire::ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let answers = Arc::clone(&self.0);
        answers.served.begin();
        if answers.behaviour == Behaviour::Refuses {
            answers.served.end();
            return Err(Status::resource_exhausted(format!("full\u{1b}[31m{}", "!".repeat(1_000))));
        }
        let signed = request.into_inner().job.expect("a job");
        let job: Signed<Job> =
            Envelope::try_from(signed).expect("an envelope").open(&answers.chain).expect("a job");
        let (events, stream) = mpsc::channel(4);
        tokio::spawn(async move {
            tokio::select! {
                () = answers.answer(&job, &events) => {}
                () = events.closed() => {}
            }
            answers.served.end();
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type Events = mpsc::Sender<Result<wire::ExecuteResponse, Status>>;

impl Answers {
    async fn answer(&self, job: &Signed<Job>, events: &Events) {
        let id = job.id(&self.chain);
        let outputs = self.model.outputs(&job.value().inputs);
        let honest = self.output(id, outputs.clone());
        match self.behaviour {
            Behaviour::Honest | Behaviour::NoPing => {
                send(events, honest).await;
                send(events, self.proof(id, job, outputs)).await;
            }
            Behaviour::StrangersProof(time) => {
                send(events, honest).await;
                tokio::time::sleep(time).await;
                let proof = self.forge(job_binding(&self.chain, &id, &self.key.public_key()), job, outputs);
                let proof = Proof { job_id: id, proof, prove_us: 1, elapsed_us: 1 };
                let signed = SecretKey::from_bytes(&[77; 32]).sign(&self.chain, proof);
                send(events, Event::Proof((&signed).into())).await;
            }
            Behaviour::ProofAfter(time) => {
                send(events, honest).await;
                tokio::time::sleep(time).await;
                send(events, self.proof(id, job, outputs)).await;
            }
            Behaviour::Silent => std::future::pending().await,
            Behaviour::Refuses => {}
            Behaviour::OutputOnly => send(events, honest).await,
            Behaviour::ProofFirst => send(events, self.proof(id, job, outputs)).await,
            Behaviour::OtherOutput => {
                send(events, self.output(id, vec![vec![99]])).await;
                send(events, self.proof(id, job, outputs)).await;
            }
            Behaviour::GarbageProof => {
                send(events, honest).await;
                send(events, self.signed_proof(id, vec![0xa5; 160])).await;
            }
            Behaviour::OtherMinersProof => {
                send(events, honest).await;
                let other = SecretKey::from_bytes(&[77; 32]).public_key();
                let binding = job_binding(&self.chain, &id, &other);
                send(events, self.signed_proof(id, self.forge(binding, job, outputs))).await;
            }
            Behaviour::Operates(owner) => {
                send(events, honest).await;
                let binding = job_binding(&self.chain, &id, &owner);
                send(events, self.signed_proof(id, self.forge(binding, job, outputs))).await;
            }
            Behaviour::OtherJob => {
                let other = JobId([5; 32]);
                send(events, self.output(other, outputs.clone())).await;
                send(events, self.proof(other, job, outputs)).await;
            }
            Behaviour::OtherSigner => {
                let output = Output { job_id: id, outputs, compute_us: 1 };
                let signed = SecretKey::from_bytes(&[77; 32]).sign(&self.chain, output);
                send(events, Event::Output((&signed).into())).await;
            }
            Behaviour::OtherChain => {
                let output = Output { job_id: id, outputs, compute_us: 1 };
                let signed = self.key.sign(&ChainId::new("test-other").expect("chain id"), output);
                send(events, Event::Output((&signed).into())).await;
            }
            Behaviour::Malformed => {
                send(events, self.output(id, vec![vec![1, 2, 3]])).await;
                std::future::pending().await
            }
            Behaviour::Oversized => send(events, self.output(id, vec![vec![i32::MAX; 3 << 20]])).await,
            Behaviour::Nothing => {
                // A channel that is closed has lost its reader, which ends this miner's part.
                let _ = events.send(Ok(wire::ExecuteResponse { event: None })).await;
            }
            Behaviour::Endless => {
                send(events, honest.clone()).await;
                send(events, self.proof(id, job, outputs)).await;
                while events.send(Ok(wire::ExecuteResponse { event: Some(honest.clone()) })).await.is_ok() {}
            }
        }
    }

    fn output(&self, job_id: JobId, outputs: Vec<Vec<i32>>) -> Event {
        let signed = self.key.sign(&self.chain, Output { job_id, outputs, compute_us: 1 });
        Event::Output((&signed).into())
    }

    fn proof(&self, id: JobId, job: &Signed<Job>, outputs: Vec<Vec<i32>>) -> Event {
        let binding = job_binding(&self.chain, &id, &self.key.public_key());
        self.signed_proof(id, self.forge(binding, job, outputs))
    }

    fn forge(&self, binding: [u8; 32], job: &Signed<Job>, outputs: Vec<Vec<i32>>) -> Vec<u8> {
        self.model.forge(&Statement::public(binding, job.value().inputs.clone(), outputs), 0)
    }

    fn signed_proof(&self, job_id: JobId, proof: Vec<u8>) -> Event {
        let signed = self.key.sign(&self.chain, Proof { job_id, proof, prove_us: 1, elapsed_us: 0 });
        Event::Proof((&signed).into())
    }
}

async fn send(events: &Events, event: Event) {
    // A channel that is closed has lost its reader, which ends this miner's part.
    let _ = events.send(Ok(wire::ExecuteResponse { event: Some(event) })).await;
}
