//! For tests only: streams garbled in many ways, the same ones each time.
/// Small deterministic random numbers (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

/// So many copies of a stream of events, each with a few bytes changed, cut out or doubled, or events dropped or swapped.
pub(crate) fn mutations(events: &[&str], copies: usize) -> impl Iterator<Item = Vec<Vec<u8>>> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    (0..copies).map(move |_| {
        let mut stream: Vec<Vec<u8>> = events.iter().map(|e| e.as_bytes().to_vec()).collect();
        for _ in 0..=dice.below(3) {
            let at = dice.below(stream.len());
            let other = dice.below(stream.len());
            let Some(place) = (!stream[at].is_empty()).then(|| dice.below(stream[at].len())) else { continue };
            match dice.below(6) {
                0 => stream[at][place] = dice.below(256) as u8,
                1 => stream[at].truncate(place),
                2 => {
                    stream[at].remove(place);
                }
                3 => {
                    let byte = b"{}[]\",:-0e"[dice.below(10)];
                    stream[at].insert(place, byte);
                }
                4 => stream[at].clear(),
                _ => stream.swap(at, other),
            }
        }
        stream
    })
}
