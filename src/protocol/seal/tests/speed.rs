//! `cargo test --release --lib seal::tests::speed -- --ignored --nocapture`

use std::time::Instant;

use super::*;

#[test]
#[ignore = "measures; run it with --release"]
fn what_sealing_and_opening_costs() {
    let (mut a, mut b) = acquainted();
    for size in [100, 200, 1000, 16_000] {
        const TIMES: u32 = 200_000;
        let clear = vec![b'x'; size];
        let mut sealed = vec![0; size + OVERHEAD];
        let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TIMES {
            let start = Instant::now();
            let bytes = a.seal.seal(a.now, b.address, &clear).expect("they know each other");
            let middle = Instant::now();
            sealed.copy_from_slice(bytes);
            let from = Instant::now();
            let opened = b.seal.open(b.now, a.address, &mut sealed);
            opening += from.elapsed();
            sealing += middle - start;
            assert!(matches!(opened, Opened::Clear(_, _)));
        }
        println!("{size:>6} bytes: seal {:?}, open {:?}", sealing / TIMES, opening / TIMES);
    }
    let forged = vec![0xB3; 1000];
    let mut stale = only(a.send(b.address, &"x".repeat(200)));
    b.restart(3);
    for (what, bytes) in [("stale", &mut stale), ("garbage", &mut forged.clone())] {
        let start = Instant::now();
        for _ in 0..100_000 {
            let mut bytes = bytes.clone();
            b.seal.open(b.now, a.address, &mut bytes);
            b.seal.drain();
        }
        println!("{what}: {:?}", start.elapsed() / 100_000);
    }
}
