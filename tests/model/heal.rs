//! The hunt for wedges (L1): from any state that a search meets, with faults off, every client gets
//! done, unless every eligible copy has lost its memory.

use crate::clients::Client;
use crate::properties::{Broken, NEVER_WEDGED, count};
use crate::world::{Event, State, World};

/// Rounds of a healed world. A stall is noticed after three; a failed join may be tried again.
const ROUNDS: usize = 40;

impl World {
    /// Whether anybody who may serve is left.
    fn has_copy(state: &State) -> bool {
        state.records.last().is_some_and(|record| state.has_living_copy(record))
    }

    /// Lets everybody be alive and every message arrive, and asks for what is not answered.
    pub fn heal(&self, state: &State) -> Result<(), Broken> {
        if !Self::has_copy(state) {
            return Ok(());
        }
        let mut state = state.clone();
        state.rulings_left = usize::MAX;
        state.timers_left = usize::MAX;
        let everybody = (1 << self.plan.servers) - 1;
        for _ in 0..ROUNDS {
            state = self.calm(state, everybody);
            for client in 0..state.clients.len() {
                for call in 0..state.clients[client].calls.len() {
                    let it = &state.clients[client];
                    if it.calls[call].told.is_some() || !it.may_ask(call) {
                        continue;
                    }
                    for server in 0..self.plan.servers {
                        let ask = Event::Ask { client, call, server };
                        state = self.happen(&state, &ask).unwrap_or(state);
                    }
                    state = self.calm(state, everybody);
                }
            }
            while !state.held.is_empty() {
                state = self.force(state, &Event::Release(0));
            }
            if let Some(broken) = state.broken {
                return Err(broken);
            }
            if state.clients.iter().all(Client::is_done) {
                count(&self.goals.healed);
                return Ok(());
            }
            let rule = Event::Rule { alive: everybody, stale: false };
            state = self.happen(&state, &rule).unwrap_or(state);
            for server in 0..self.plan.servers {
                state = self.happen(&state, &Event::Timer(server)).unwrap_or(state);
            }
        }
        let detail = format!("clients wait for ever: {state:?}");
        Err(Broken { property: NEVER_WEDGED, detail })
    }
}
