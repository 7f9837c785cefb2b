//! Every message, at every process, in every state: real messages, repeated, misdirected, altered.
//!
//! The first byte chooses a situation that was brought about by real messages (`situations`); the
//! others choose what happens then: messages arrive, at whom they are meant for or at another one,
//! as they were sent or altered (`alter`); timers ring; somebody asks for something; processes end
//! and start.
//!
//! Must hold after every step (`checks`): no panic, timers advance, and what one process can be held
//! to whatever it is told, because it follows from what it has itself recorded, adopted or applied.
//! What only all of them together can keep is the business of `tests/cluster`: here anybody may lie.

mod alter;
mod checks;
mod situations;
mod world;

use std::time::Duration;

use super::bytes::Bytes;

pub use situations::Situation;
pub use world::World;

/// Steps of one input: enough for every path, and an input that can still be read.
const STEPS_MAX: usize = 120;

pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let situation = Situation::ALL[bytes.below(Situation::ALL.len())];
    let mut world = World::of(situation);
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        step(&mut world, &mut bytes);
    }
    // Whatever it was told, nobody breaks when time goes on.
    world.settle(Duration::from_millis(700));
}

fn step(world: &mut World, bytes: &mut Bytes<'_>) {
    match bytes.byte() % 16 {
        // The next message arrives, or any earlier one; where it should or elsewhere.
        0..=2 => world.deliver_fresh(bytes),
        3 => {
            if let Some(letter) = world.any_letter(bytes) {
                world.deliver(letter);
            }
        }
        4 => {
            if let Some(mut letter) = world.any_letter(bytes) {
                letter.to = world.any_address(bytes);
                world.deliver(letter);
            }
        }
        // Altered, once or several times.
        5..=9 => {
            let Some(mut letter) = world.any_letter(bytes) else { return };
            let other = world.any_letter(bytes);
            let Some(message) = alter::alter(&letter.message, other.as_ref(), bytes) else {
                return;
            };
            letter.message = message;
            match bytes.byte() % 8 {
                0 => letter.from = world.any_address(bytes),
                1 => letter.to = world.any_address(bytes),
                _ => {}
            }
            world.deliver(letter);
        }
        10 => world.lose_fresh(bytes),
        11 => {
            let time = Duration::from_millis(u64::from(bytes.byte()) * 4);
            world.pass(time);
        }
        12 => world.settle(Duration::from_millis(u64::from(bytes.byte() % 64))),
        13 => world.ask(bytes),
        14 => world.timer(bytes),
        _ => world.end_or_start(bytes),
    }
}
