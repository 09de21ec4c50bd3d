//! Asking an accept loop whether it still goes round.

use tokio::sync::{mpsc, oneshot};

/// Asks the loop that has the [`Probes`].
#[derive(Clone, Debug)]
pub struct Prober(mpsc::Sender<oneshot::Sender<bool>>);

/// What the loop answers, in its turn.
#[derive(Debug)]
pub struct Probes(mpsc::Receiver<oneshot::Sender<bool>>);

/// Both ends.
pub fn probes() -> (Prober, Probes) {
    let (asking, asked) = mpsc::channel(1);
    (Prober(asking), Probes(asked))
}

impl Prober {
    /// Waits until the loop has answered; false: it has ended.
    pub async fn ask(self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.unwrap_or(false)
    }
}

impl Probes {
    /// Waits for a question, which has to be answered with true. Without anybody who could ask it waits for ever.
    pub async fn next(&mut self) -> oneshot::Sender<bool> {
        match self.0.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_has_ended_does_not_answer_that_it_goes_round() {
        let (asks, mut answers) = probes();
        let asked = tokio::spawn(asks.clone().ask());
        answers.next().await.send(true).expect("it waits");
        assert!(asked.await.expect("an answer"));
        let asked = tokio::spawn(asks.clone().ask());
        // It ends with the question in its hands.
        drop(answers.next().await);
        assert!(!asked.await.expect("an answer"));
        drop(answers);
        assert!(!asks.ask().await);
    }
}
