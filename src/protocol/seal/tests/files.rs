//! The text of key files, and several keys at once.

use super::*;

#[test]
fn a_key_file_has_a_key_a_line_and_comments() {
    let text = format!("# ours\n\n  {A_KEY} cluster\n{CLIENT_KEY}\r\n");
    let keyring = Keyring::parse(&text).unwrap();
    assert_eq!(keyring.names(), "a (cluster), c (client)");
    assert!(keyring.has(KeyKind::Client));
    assert!(!format!("{keyring:?}").contains("aa"), "no secret is shown");
}

#[test]
fn what_is_no_key_is_refused_with_line_and_remedy_and_without_the_secret() {
    let digits = "0123456789abcdef".repeat(4);
    for (text, words) in [
        (String::new(), &["no key", "keygen"][..]),
        ("# nothing\n".to_owned(), &["no key"]),
        (format!("a {digits}\n{digits}"), &["line 2", "a name and a key", "64 hexadecimal"]),
        (format!("a {}", &digits[1..]), &["line 1", "has 63 characters", "keygen"]),
        (format!("a {}g", &digits[1..]), &["line 1", "no hexadecimal digits"]),
        (format!("a {digits} clients"), &["line 1", "\"cluster\" or \"client\""]),
        (format!("a {digits} client x"), &["line 1", "too many words"]),
        (format!("a {digits}\na {}", digits.replace('1', "2")), &["line 2", "\"a\"", "twice"]),
        (format!("a {digits}\nb {digits}"), &["line 2", "twice"]),
        (format!("a {}", "00".repeat(32)), &["line 1", "guesses"]),
    ] {
        let error = Keyring::parse(&text).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains(&digits[..16]) && !error.contains("bcdef"), "{error}");
    }
    let many: Vec<String> = (0..9).map(|n| format!("k{n} {}{n}", &digits[1..])).collect();
    assert_eq!(Keyring::parse(&many.join("\n")).unwrap_err(), KeysError::TooMany);
}

#[test]
fn a_drawn_key_is_a_line_of_a_key_file_named_after_itself() {
    let secret = std::array::from_fn(|index| index as u8);
    for kind in [KeyKind::Cluster, KeyKind::Client] {
        let line = key_line(kind, &secret);
        let keyring = Keyring::parse(&line).unwrap();
        assert!(keyring.has(kind));
        assert!(line.contains("000102030405060708090a0b") && line.starts_with("key-"), "{line}");
    }
    assert_ne!(key_line(KeyKind::Cluster, &secret)[..12], key_line(KeyKind::Client, &secret)[..12]);
}

#[test]
fn every_pair_of_files_with_a_common_key_can_talk_whoever_begins_and_whatever_came_first() {
    let files: [&[&str]; 4] = [&[A_KEY], &[A_KEY, B_KEY], &[B_KEY, A_KEY], &[B_KEY]];
    for ours in files {
        for theirs in files {
            let (mut a, mut b) = (node(Role::Server, ours, 1), node(Role::Server, theirs, 2));
            let hellos = a.send(b.address, "over");
            let (_, at_b) = carry(&mut a, &mut b, hellos);
            let have_common = ours.iter().any(|key| theirs.contains(key));
            assert_eq!(!at_b.is_empty(), have_common, "{ours:?} {theirs:?}");
            if have_common {
                let back = only(b.send(a.address, "back"));
                assert!(matches!(a.take(&b, &back).0, Got::Clear(_, _)));
            }
        }
    }
}

#[test]
fn keys_are_exchanged_one_process_after_the_other_without_anybody_being_cut_off() {
    let steps: [&[&str]; 3] = [&[A_KEY], &[A_KEY, B_KEY], &[B_KEY]];
    let (mut a, mut b) = acquainted();
    let mut number = 10;
    for keys in steps {
        for who in 0..2 {
            number += 1;
            let node = if who == 0 { &mut a } else { &mut b };
            node.seal.keyring = Keyring::parse(&keys.join("\n")).unwrap();
            node.restart(number);
            // A datagram may be lost to the restart; repeating it, as everybody does, finds the way.
            for turn in 0..2 {
                let (from, to) = if turn == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
                let mut arrived = Vec::new();
                for _ in 0..5 {
                    after(from, Duration::from_millis(100));
                    after(to, Duration::from_millis(100));
                    let sent = from.send(to.address, "x");
                    arrived.extend(carry(from, to, sent).1);
                }
                assert!(!arrived.is_empty(), "{keys:?} {who} {turn}");
            }
        }
    }
}

#[test]
fn the_preferred_key_is_the_one_that_both_end_up_with() {
    let keys = [B_KEY, A_KEY];
    let (mut a, mut b) = (node(Role::Server, &keys, 1), node(Role::Server, &keys, 2));
    let hellos = a.send(b.address, "over");
    assert_eq!(hellos.len(), 2);
    carry(&mut a, &mut b, hellos);
    let header = Header::decode(&only(a.send(b.address, "more"))).unwrap();
    assert_eq!(a.seal.keyring.find(header.key), Some(0));
}
