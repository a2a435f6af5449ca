// Runs before the first paint, so that a chosen theme never flashes the other one.
try {
  const theme = localStorage.getItem("switchyard.theme");
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  }
  // Wide pages may keep the sidebar folded; phones open it as a drawer.
  if (localStorage.getItem("switchyard.sidebar") === "folded") {
    document.documentElement.dataset.sidebar = "folded";
  }
} catch {
  // a browser that forbids storage: the system's theme
}
