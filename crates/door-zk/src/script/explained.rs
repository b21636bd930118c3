//! What differs from Apache ZooKeeper on purpose, told as narrowly as it can be. The README has a
//! line for each.

use super::stage::Scene;

/// Whether all that differs between what this door and ZooKeeper told of the same block is meant.
pub fn is_explained(ours: &Scene, theirs: &Scene) -> bool {
    ours.block == theirs.block && refuses_delete_container(ours, theirs)
}

/// deleteContainer is for the server itself, and no client library sends it. ZooKeeper looks at the
/// record that a client sends; here the opcode is unknown, which ends the connection.
fn refuses_delete_container(ours: &Scene, theirs: &Scene) -> bool {
    let [part] = &ours.block[..] else { return false };
    let who = format!("{}< ", part.who);
    let texts = |scene: &Scene| -> Option<Vec<String>> {
        let lines = scene.told.iter().filter(|line| !line.contains("< event "));
        lines.map(|line| Some(line.strip_prefix(&who)?.to_owned())).collect()
    };
    let events = |scene: &Scene| -> Vec<String> {
        scene.told.iter().filter(|line| line.contains("< event ")).cloned().collect()
    };
    let (Some(ours_told), Some(theirs_told)) = (texts(ours), texts(theirs)) else { return false };
    part.commands == ["20", "ping"]
        && events(ours) == events(theirs)
        && matches!(&ours_told[..], [refused, closed]
            if refused.ends_with(": error -6 zxid=-1") && closed == "connection closed")
        && matches!(&theirs_told[..], [refused, alive]
            if refused.contains(": error -5 zxid=") && alive.starts_with("-2: ok "))
}

/// Whether ZooKeeper has closed the connection to which a session (of a client whose name begins with
/// x) has just moved, without a word: it does so now and then, in no program every time. What follows
/// says nothing, and the program is to be played again.
pub fn has_hung_up(ours: &Scene, theirs: &Scene) -> bool {
    let [part] = &ours.block[..] else { return false };
    let closed = format!("{}< connection closed", part.who);
    part.who.starts_with('x')
        && ours.block == theirs.block
        && theirs.told == [closed.as_str()]
        && !ours.told.contains(&closed)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn only_the_opcode_of_the_server_itself_is_explained() {
        let scene = |text: &str| parse(text).remove(0);
        let ours = "c1> 20\nc1> ping\nc1< 4: error -6 zxid=-1\nc1< connection closed\n";
        let theirs = "c1> 20\nc1> ping\nc1< 4: error -5 zxid=9\nc1< -2: ok zxid=9\n";
        assert!(is_explained(&scene(ours), &scene(theirs)));
        assert!(!is_explained(&scene(theirs), &scene(ours)));
        let other = |text: &str| scene(&text.replace("> 20", "> 13"));
        assert!(!is_explained(&other(ours), &other(theirs)));
        let (ours_moved, theirs_moved) =
            ("x1> ping\nx1< -2: ok zxid=9\n", "x1> ping\nx1< connection closed\n");
        assert!(has_hung_up(&scene(ours_moved), &scene(theirs_moved)));
        assert!(!has_hung_up(&scene(theirs_moved), &scene(ours_moved)), "this door may not");
        let event = format!("{theirs}c1< event created /a zxid=9\n");
        assert!(!is_explained(&scene(ours), &scene(&event)));
    }
}
