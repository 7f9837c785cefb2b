//! Waits until operations of an open loop are due, to within some microseconds.
//!
//! tokio's own timers are good to a millisecond, which is ten times what an operation takes: with
//! them an open loop would send in bursts, and either count its own lateness or leave it out, and
//! with it every stall. One timer of the kernel serves all lanes, because their turns are given
//! out in the order in which they are due.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use crate::runtime::now;

/// See the top of this file.
pub(super) struct Pacer {
    /// Of the clock of [`now`].
    timer: AsyncFd<OwnedFd>,
    /// Who waits, and until when; the earliest first.
    waiting: RefCell<VecDeque<(u64, Rc<Notify>)>>,
    /// Somebody has begun to wait.
    added: Notify,
}

impl Pacer {
    /// Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(super) fn new() -> io::Result<Pacer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        #[allow(
            deprecated,
            reason = "its successor is unsafe, for descriptors that change; an OwnedFd does not"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Pacer { timer, waiting: RefCell::default(), added: Notify::new() })
    }

    /// Has `wake` notified at this time. Nobody may be due later who has called before.
    pub(super) fn wake_at(&self, due_ns: u64, wake: &Rc<Notify>) {
        let mut waiting = self.waiting.borrow_mut();
        debug_assert!(waiting.back().is_none_or(|(last_ns, _)| *last_ns <= due_ns));
        waiting.push_back((due_ns, Rc::clone(wake)));
        if waiting.len() == 1 {
            self.added.notify_one();
        }
    }

    /// Wakes everybody in time. Ends only with an error.
    pub(super) async fn drive(&self) -> io::Error {
        loop {
            let next = self.waiting.borrow().front().map(|(due_ns, _)| *due_ns);
            match next {
                None => self.added.notified().await,
                Some(due_ns) if due_ns <= now().0 => {
                    if let Some((_, wake)) = self.waiting.borrow_mut().pop_front() {
                        wake.notify_one();
                    }
                }
                Some(due_ns) => {
                    if let Err(error) = self.expire_at(due_ns).await {
                        return error;
                    }
                }
            }
        }
    }

    async fn expire_at(&self, due_ns: u64) -> io::Result<()> {
        let part = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: part(due_ns / 1_000_000_000),
                tv_nsec: part(due_ns % 1_000_000_000),
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        // Setting it anew makes it unreadable until it expires, so that nothing need be read; only
        // tokio must be told that what it remembers is of the last time.
        self.timer.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn nobody_is_woken_early_and_everybody_in_the_end() {
        let pacer = Pacer::new().unwrap();
        let start_ns = now().0;
        let lanes: Vec<(u64, Rc<Notify>)> =
            (0..20).map(|lane| (start_ns + lane * 300_000, Rc::default())).collect();
        let woken = async {
            for (due_ns, wake) in &lanes {
                pacer.wake_at(*due_ns, wake);
                wake.notified().await;
                assert!(now().0 >= *due_ns);
            }
            // Several at once, of which the first is due already.
            for (late_ns, wake) in &lanes {
                pacer.wake_at(late_ns + 6_000_000, wake);
            }
            for (late_ns, wake) in &lanes {
                wake.notified().await;
                assert!(now().0 >= late_ns + 6_000_000);
            }
        };
        tokio::select! {
            error = pacer.drive() => panic!("{error}"),
            done = timeout(Duration::from_secs(30), woken) => done.expect("everybody is woken"),
        }
    }
}
