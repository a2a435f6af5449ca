// @ts-check
/** The page that was wanted is asked for again as soon as there is a network. */

// Not reloaded: a form that was sent into the void is not sent again unasked.
addEventListener("online", () => location.assign(location.pathname + location.search));
