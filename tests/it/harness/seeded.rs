//! Numbers and texts that look like chance and are the same on every machine.

/// A seeded sequence of numbers.
pub(crate) struct Seeded(u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        // The low bits of a linear congruence repeat soon: only the high ones are used.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (self.0 >> 33) % (high - low + 1)
    }

    pub(crate) fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        let most = u64::try_from(list.len() - 1).unwrap();
        list[usize::try_from(self.between(0, most)).unwrap()]
    }

    /// A prompt in English, Chinese or code, from a line to some pages.
    pub(crate) fn prompt(&mut self) -> String {
        let pieces = self.between(2, 60);
        let pieces = if self.between(0, 9) == 0 { pieces * 12 } else { pieces };
        match self.between(0, 2) {
            0 => self.joined("Please compare: ", &ENGLISH, " ", pieces),
            1 => self.joined("请解释：", &CHINESE, "", pieces),
            _ => self.joined("What does this do?\n", &CODE, "\n", pieces),
        }
    }

    fn joined(&mut self, opening: &str, list: &[&str], between: &str, pieces: u64) -> String {
        let pieces: Vec<&str> = (0..pieces).map(|_| self.pick(list)).collect();
        format!("{opening}{}", pieces.join(between))
    }
}

const ENGLISH: [&str; 8] = [
    "the ferry that leaves at dawn,",
    "a ledger nobody has balanced since March,",
    "twelve invoices for £1,249.50 each,",
    "the committee's unanswered letter",
    "(which was, after all, only a draft)",
    "and whether it can be refunded.",
    "Two engineers disagree about caching;",
    "neither has measured it.",
];
const CHINESE: [&str; 7] = [
    "合同第三条的付款期限，",
    "去年第四季度的报价，",
    "杭州到青岛的高铁班次，",
    "缓存命中率只有百分之十二；",
    "请列出三个原因。",
    "“先到先得”是否公平？",
    "数据库迁移失败了，",
];
const CODE: [&str; 7] = [
    "for (int i = 0; i < n; ++i) { total += price[i] * count[i]; }",
    "fn settle(self, cost: Usd) -> Result<(), Error> {",
    "    return {k: v for k, v in rows.items() if v is not None}",
    "SELECT key, sum(cost) FROM requests GROUP BY 1 ORDER BY 2 DESC;",
    "}",
    "\tif err != nil { return fmt.Errorf(\"open %q: %w\", path, err) }",
    "// 0x1F600..0x1F64F",
];
