//! Questions with known answers, which this validator puts to the models of a subnet with a labelled task.
//!
//! ```text
//! file    a line a question:  LABEL INPUT[;INPUT..]      INPUT = integers of a port, separated by commas
//! epoch   the same questions, drawn anew, to every model of the subnet, as jobs of the account that asks
//! ```
//!
//! Label, inputs and what an answer must be to be right: `assay_verifier::labels`. The jobs are like any others: the broker
//! assigns them, miners are paid for them, their receipts are in the log, and what they say about a model follows from the log
//! and the file (`scoring`). As scores, they begin no epoch.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use assay_proto::job::{Job, Tier};
use assay_proto::{SecretKey, SubnetId};
use assay_verifier::describe;
use assay_verifier::labels::Labels;

use crate::application::Application;
use crate::broker::Broker;
use crate::config::QuestionsConfig;
use crate::error::Error;
use crate::stop::{Stopped, stopping};

/// Bytes of the file.
const FILE_BYTES: u64 = 256 << 20;
/// Questions of the file.
const QUESTIONS: usize = 1 << 16;

/// Inputs and their label.
type Question = (Vec<Vec<i32>>, usize);

/// What this validator asks, whom, and how.
#[derive(Debug)]
pub(crate) struct Questions {
    subnet: SubnetId,
    config: QuestionsConfig,
    key: SecretKey,
    all: Vec<Question>,
    labels: Labels,
}

impl Questions {
    /// Reads what the settings name; none if they name no subnet.
    pub fn read(config: &QuestionsConfig) -> Result<Option<Self>, Error> {
        if config.subnet == 0 {
            return Ok(None);
        }
        let wrong = |field, allowed: String| Error::Config { field, value: String::new(), allowed };
        let key = SecretKey::from_hex(&text(&config.key, 1 << 10)?)
            .map_err(|error| wrong("questions.key", describe(&error)))?;
        let all = parse(&text(&config.file, FILE_BYTES)?)
            .map_err(|line| wrong("questions.file", format!("a question in line {line}, see `questions`")))?;
        if all.is_empty() || all.len() > QUESTIONS {
            return Err(wrong("questions.file", format!("1 to {QUESTIONS} questions")));
        }
        let labels = Labels::new(key.public_key(), all.iter().cloned());
        Ok(Some(Self { subnet: SubnetId(config.subnet), config: config.clone(), key, all, labels }))
    }

    /// The labels, for scores of their subnet.
    pub fn labels(&self, subnet: SubnetId) -> Option<&Labels> {
        (self.subnet == subnet).then_some(&self.labels)
    }

    /// Some of the questions, none twice.
    fn draw(&self) -> Result<Vec<&Question>, Error> {
        let wanted = self.all.len().min(usize::try_from(self.config.questions).unwrap_or(usize::MAX));
        let mut places = BTreeSet::new();
        // As `Floyd` draws: each round adds a new one.
        for last in self.all.len() - wanted..self.all.len() {
            let place = scaled(getrandom::u64().map_err(Error::Randomness)?, last + 1);
            places.insert(if places.contains(&place) { last } else { place });
        }
        Ok(places.into_iter().filter_map(|place| self.all.get(place)).collect())
    }

    /// Puts this epoch's questions to every model.
    async fn ask(&self, application: &Arc<Application>, broker: &Broker) -> Result<(), Error> {
        let state = application.state();
        let (chain, asker) = (state.chain_id(), self.key.public_key());
        let (store, key) = (Arc::clone(application), asker);
        let taken = tokio::task::spawn_blocking(move || store.store().latest_job_nonce(&key)).await??;
        let mut nonce = state.client(&asker).map_or(0, |jobs| jobs.latest()).max(taken);
        let drawn = self.draw()?;
        let models = state.models().map(|(id, _)| *id).filter(|id| state.subnet_of(id) == self.subnet);
        for model_id in models {
            for (inputs, _) in &drawn {
                nonce = nonce.saturating_add(1);
                let (inputs, max_price) = (inputs.clone(), self.config.price);
                let job = Job {
                    model_id,
                    inputs,
                    nonce,
                    max_price,
                    deadline_ms: self.config.deadline_ms,
                    tier: Tier::default(),
                };
                // A model that takes no such inputs is asked nothing and has no score; nobody reads what comes of the others.
                if let Err(error) = broker.accept(self.key.sign(chain, job).into_envelope()).await {
                    tracing::warn!(model = %model_id, error = %describe(&error), "a question is not asked");
                    break;
                }
            }
        }
        Ok(())
    }
}

/// `floor(draw * count / 2^64)`.
fn scaled(draw: u64, count: usize) -> usize {
    let product = u128::from(draw) * u128::try_from(count).unwrap_or(0);
    usize::try_from(product >> 64).unwrap_or(0)
}

fn text(path: &Path, limit: u64) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut text = String::new();
    File::open(path).map_err(failed)?.take(limit).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The questions of a file, or the number of the first line that is none.
fn parse(text: &str) -> Result<Vec<Question>, usize> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(number, line)| question(line).ok_or(number)).collect()
}

fn question(line: &str) -> Option<Question> {
    let (label, inputs) = line.trim().split_once(' ')?;
    let port =
        |port: &str| port.split(',').map(|value| value.trim().parse().ok()).collect::<Option<Vec<i32>>>();
    Some((inputs.split(';').map(port).collect::<Option<_>>()?, label.parse().ok()?))
}

/// Asks in every epoch of its subnet that has begun until the node stops.
pub(crate) async fn run(
    application: Arc<Application>,
    broker: Arc<Broker>,
    questions: Arc<Questions>,
    stopped: Stopped,
) {
    let mut head = application.follow();
    let mut asked = None;
    loop {
        let running = {
            let state = head.borrow_and_update();
            let known = state.subnet(questions.subnet).is_some_and(|own| own.labelled);
            state.running_epoch(questions.subnet).filter(|_| known)
        };
        if running.is_some() && asked != running {
            asked = running;
            if let Err(error) = questions.ask(&application, &broker).await {
                tracing::error!(error = %describe(&error), "no questions");
            }
        }
        tokio::select! {
            () = stopping(stopped.clone()) => return,
            changed = head.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(all: Vec<Question>, count: u32) -> Questions {
        let key = SecretKey::from_bytes(&[1; 32]);
        let labels = Labels::new(key.public_key(), all.iter().cloned());
        let config = QuestionsConfig { subnet: 3, questions: count, ..QuestionsConfig::default() };
        Questions { subnet: SubnetId(3), config, key, all, labels }
    }

    #[test]
    fn a_line_is_a_label_and_the_integers_of_every_port() {
        assert_eq!(parse("7 1,-2;3\n\n0 4\n"), Ok(vec![(vec![vec![1, -2], vec![3]], 7), (vec![vec![4]], 0)]));
        for (line, bad) in
            ["7", "7 ", "-1 1", "a 1", "7 1,,2", "7 1;", "7 1.5", "7 3000000000"].into_iter().enumerate()
        {
            let before = "0 1\n".repeat(line);
            assert_eq!(parse(&format!("{before}{bad}")), Err(line + 1), "{bad}");
        }
    }

    #[test]
    fn as_many_questions_as_are_wanted_are_drawn_and_none_twice() {
        let all: Vec<Question> = (0..10).map(|n| (vec![vec![n]], 0)).collect();
        for (count, expected) in [(1, 1), (4, 4), (10, 10), (40, 10)] {
            let own = questions(all.clone(), count);
            let drawn: BTreeSet<_> = own.draw().expect("randomness").into_iter().cloned().collect();
            assert_eq!(drawn.len(), expected);
        }
        let seen: BTreeSet<_> =
            (0..400).map(|_| questions(all.clone(), 1).draw().expect("randomness")[0].clone()).collect();
        assert_eq!(seen.len(), 10, "each may be drawn");
    }

    #[test]
    fn labels_are_of_one_subnet() {
        let own = questions(vec![(vec![vec![1]], 0)], 1);
        assert!(own.labels(SubnetId(3)).is_some() && own.labels(SubnetId::ROOT).is_none());
    }

    #[test]
    fn settings_that_name_no_subnet_need_no_files_and_others_do() {
        assert!(Questions::read(&QuestionsConfig::default()).expect("none").is_none());
        let config = QuestionsConfig { subnet: 1, ..QuestionsConfig::default() };
        assert!(matches!(Questions::read(&config), Err(Error::File { .. })));
    }
}
