//! What requests are summed up by beside their key: whose team and project it was of when they came, and the tags that key and
//! request gave them. They are booked with the request, so that a team has spent what was spent in its name, whatever becomes of its
//! keys.

/// What a request is booked under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Its key's team; empty where of none, `None` in records of before it was booked.
    pub team: Option<String>,
    /// And its project.
    pub project: Option<String>,
    /// In their order, each once.
    pub tags: Vec<String>,
}

/// Which kind of mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mark {
    Team,
    Project,
    Tag,
}

impl Mark {
    /// The word in the store.
    pub const fn word(self) -> &'static str {
        match self {
            Mark::Team => "team",
            Mark::Project => "project",
            Mark::Tag => "tag",
        }
    }
}

/// Between two tags of a row; no tag holds it.
const BETWEEN: &str = ",";

impl Marks {
    /// Every mark with its name.
    pub(super) fn each(&self) -> impl Iterator<Item = (Mark, &str)> {
        let groups = [(Mark::Team, &self.team), (Mark::Project, &self.project)];
        let groups = groups.into_iter().map(move |(mark, name)| (mark, name.as_deref().unwrap_or_default()));
        groups.filter(|(_, name)| !name.is_empty()).chain(self.tags.iter().map(|tag| (Mark::Tag, tag.as_str())))
    }

    /// What a row says.
    pub(super) fn of_row(team: Option<String>, project: Option<String>, tags: &str) -> Self {
        let tags = tags.split(BETWEEN).filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        Self { team, project, tags }
    }

    /// All tags as one text.
    pub fn tags_text(&self) -> String {
        self.tags.join(BETWEEN)
    }
}
