//! What an operator sees and sets: metrics, health, encryption, rates.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use assay_proto::client::{Client, ClientError, ClientOptions, ClientTls};
use assay_proto::operator::Backup;
use assay_validator::Error;
use assay_validator::store::Store;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::support::Chain;
use crate::support::calls::Calls;
use crate::support::miner::Behaviour;
use crate::support::network::Network;

/// Status line and body of an HTTP answer.
pub async fn get(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{request} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    (head.lines().next().expect("a status").to_owned(), body.to_owned())
}

/// The value of a gauge among the metrics.
fn gauge(metrics: &str, name: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok()).expect(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_and_health_say_what_the_node_does() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.monitor.enabled = true;
    config.monitor.listen = ([127, 0, 0, 1], 0).into();
    let node = chain.start_with(config.clone()).await.expect("starts");
    let address = node.monitor_addr().expect("an address");
    let mut calls = Calls::to(node.local_addr()).await;
    let _miners = calls.set_up(&chain, &[Behaviour::Honest]).await;
    calls.infer(&chain.job(1)).await.expect("an answer");
    let (status, metrics) = get(address, "GET /metrics").await;
    assert!(status.contains("200"), "{status}");
    for line in [
        "assay_consensus_height 3",
        "assay_consensus_validators_power 1",
        "assay_receipts_verified_total{verdict=\"verified\"} 1",
        "assay_jobs_total 1",
        "assay_mempool_size 0",
        "# TYPE assay_proof_verify_seconds histogram",
        "assay_consensus_block_interval_seconds_count 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    for name in ["assay_store_memtable_bytes", "process_resident_memory_bytes"] {
        let bytes = gauge(&metrics, name);
        assert!((1 << 10..1 << 32).contains(&bytes), "{name} {bytes}");
    }
    assert_eq!(gauge(&metrics, "assay_store_files_bytes"), 0, "all is in memory and in the write-ahead log");
    let (status, health) = get(address, "GET /health").await;
    assert!(status.contains("200"), "{status}");
    assert_eq!(health, "{\"ready\":true,\"height\":3,\"signing\":true,\"peers\":0,\"stranded\":false}\n");
    assert!(get(address, "GET /other").await.0.contains("404"));
    assert!(get(address, "POST /metrics").await.0.contains("405"));
    node.shutdown().await.expect("stops");
    // What the log held is sorted into files when the database is opened again, and read from there.
    let node = chain.start_with(config).await.expect("starts again");
    let (_, metrics) = get(node.monitor_addr().expect("an address"), "GET /metrics").await;
    for part in ["files", "block_cache", "table_readers"] {
        assert!(gauge(&metrics, &format!("assay_store_{part}_bytes")) > 0, "{part}: {metrics}");
    }
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_alone_among_four_is_not_healthy_and_takes_no_job() {
    let network = Network::new(4);
    let mut config = network.config(0);
    config.monitor.enabled = true;
    config.monitor.listen = ([127, 0, 0, 1], 0).into();
    let genesis = network.chain.genesis.clone();
    let node = assay_validator::Node::start(config, network.keys[0].clone(), genesis).await.expect("starts");
    let (status, _) = get(node.monitor_addr().expect("an address"), "GET /health").await;
    assert!(status.contains("503"), "{status}");
    let refused =
        Calls::to(node.local_addr()).await.infer(&network.chain.job(1)).await.expect_err("not ready");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    node.shutdown().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_beyond_its_rate_is_told_so() {
    let chain = Chain::new();
    let mut config = chain.config();
    config.services.calls_per_second = 1;
    let node = chain.start_with(config).await.expect("starts");
    let mut calls = Calls::to(node.local_addr()).await;
    let request = || assay_proto::wire::ListModelsRequest {};
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(calls.inference.list_models(request()).await.map_err(|status| status.code()).err());
    }
    assert_eq!(codes[..2], [None, None]);
    assert!(codes.contains(&Some(Code::ResourceExhausted)), "{codes:?}");
    node.shutdown().await.expect("stops");
}

fn issued(issuer: &CertifiedIssuer<'_, KeyPair>, usage: ExtendedKeyUsagePurpose) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.extended_key_usages = vec![usage];
    (parameters.signed_by(&key, issuer).expect("a certificate").pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_both_sides_show_certificates_of_the_authority() {
    let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
    parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("one");
    let (certificate, key) = issued(&authority, ExtendedKeyUsagePurpose::ServerAuth);
    let chain = Chain::new();
    let file = |name: &str, text: &str| {
        let path = chain.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let mut config = chain.config();
    config.tls.certificate = file("server.pem", &certificate);
    config.tls.key = file("server.key", &key);
    config.tls.client_ca = file("ca.pem", &authority.pem());
    let node = chain.start_with(config.clone()).await.expect("starts");
    let endpoint = format!("https://localhost:{}", node.local_addr().port());
    let options = |identity| ClientOptions {
        tls: Some(ClientTls { ca: authority.pem().into_bytes(), identity }),
        connect_timeout: Duration::from_secs(5),
        ..ClientOptions::default()
    };
    let (certificate, key) = issued(&authority, ExtendedKeyUsagePurpose::ClientAuth);
    let identity = Some((certificate.into_bytes(), key.into_bytes()));
    let client = Client::connect(&endpoint, options(identity)).await.expect("both are known");
    assert!(client.models().await.expect("an answer").is_empty());
    // Without a certificate the connection, or else the first call on it, fails.
    if let Ok(client) = Client::connect(&endpoint, options(None)).await {
        client.models().await.expect_err("a stranger is served");
    }
    let clear = format!("http://localhost:{}", node.local_addr().port());
    if let Ok(client) = Client::connect(&clear, ClientOptions::default()).await {
        client.models().await.expect_err("a call in the clear is served");
    }
    node.shutdown().await.expect("stops");
    config.tls.certificate = chain.dir.path().join("nowhere.pem");
    assert!(matches!(chain.start_with(config).await, Err(Error::File { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_running_node_opens_as_a_database_and_only_the_operator_may_make_one() {
    let chain = Chain::new();
    let node = chain.start().await;
    let mut calls = Calls::to(node.local_addr()).await;
    for nonce in 1..=3 {
        calls.submit(&chain.transfer(nonce, 1)).await.expect("committed");
    }
    let endpoint = format!("http://{}", node.local_addr());
    let client = Client::connect(&endpoint, ClientOptions::default()).await.expect("connects");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let now = u64::try_from(now).expect("small");
    let backup = |key: &assay_proto::SecretKey, name: &str, time_ms| {
        key.sign(chain.chain_id(), Backup::new(name, time_ms).expect("a name"))
    };
    let code = |error: ClientError| match error {
        ClientError::Refused(status) => status.code(),
        other => panic!("{other:?}"),
    };
    let strange = client.backup(&backup(&chain.client, "one", now)).await.expect_err("a stranger's");
    assert_eq!(code(strange), Code::PermissionDenied);
    let old = client.backup(&backup(&chain.validator, "one", now - 61_000)).await.expect_err("an old one");
    assert_eq!(code(old), Code::PermissionDenied);
    let (path, height) = client.backup(&backup(&chain.validator, "one", now)).await.expect("made");
    assert_eq!(height.0, 3);
    let again = client.backup(&backup(&chain.validator, "one", now)).await.expect_err("a name is used once");
    assert_eq!(code(again), Code::FailedPrecondition);
    calls.submit(&chain.transfer(4, 1)).await.expect("the node goes on");
    let (_, state) = Store::open(std::path::Path::new(&path), &chain.genesis).expect("a whole database");
    assert_eq!(state.head().height.0, 3);
    node.shutdown().await.expect("stops");
}
