(() => {
  "use strict";
  const root = document.documentElement;
  const darkOf = JSON.parse(document.getElementById("dark-colours").textContent);
  const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse), (hover: none)").matches;
  const plots = Array.from(document.querySelectorAll(".plot"));
  let printing = false;

  const themes = ["auto", "light", "dark"];
  const button = document.querySelector("button.theme");
  let theme = "auto";
  try {
    const stored = window.localStorage.getItem("offramp-theme");
    theme = themes.includes(stored) ? stored : "auto";
  } catch {
    // Storage is closed to some local files; the theme then lasts as long as the page.
  }

  function isDark() {
    return !printing && (theme === "dark" || (theme === "auto" && systemDark.matches));
  }

  function showTheme() {
    if (theme === "auto" && !printing) root.removeAttribute("data-theme");
    else root.dataset.theme = printing ? "light" : theme;
    button.textContent = `Theme: ${theme}`;
  }

  // Figures are written in light colours; each of those stands for one role.
  function recoloured(value) {
    if (typeof value === "string") return darkOf[value] ?? value;
    if (Array.isArray(value)) return value.map(recoloured);
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, recoloured(item)]));
    }
    return value;
  }

  function draw(plot) {
    const width = plot.clientWidth;
    if (!width) return;
    const text = document.getElementById(plot.dataset.figure).textContent;
    const figure = isDark() ? recoloured(JSON.parse(text)) : JSON.parse(text);
    figure.layout.width = width;
    if (touch) {
      // A finger on a figure scrolls the page instead of zooming the figure.
      figure.layout.dragmode = false;
      for (const key of Object.keys(figure.layout)) {
        if (/^[xy]axis\d*$/.test(key)) figure.layout[key].fixedrange = true;
      }
    }
    plot.dataset.drawnWidth = String(width);
    window.Plotly.react(plot, figure.data, figure.layout, {
      displaylogo: false,
      displayModeBar: touch ? false : "hover",
      modeBarButtons: [["zoom2d", "resetScale2d", "toImage"]],
      toImageButtonOptions: { format: "svg" },
    });
  }

  function drawAll() {
    for (const plot of plots) draw(plot);
  }

  // Also the first drawing: observing reports the present size, and a figure in a closed box has none yet.
  const observer = new ResizeObserver((entries) => {
    if (printing) return;
    for (const { target } of entries) {
      if (target.clientWidth && target.dataset.drawnWidth !== String(target.clientWidth)) draw(target);
    }
  });

  showTheme();
  for (const plot of plots) observer.observe(plot);

  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try {
      window.localStorage.setItem("offramp-theme", theme);
    } catch {
      // As above.
    }
    showTheme();
    drawAll();
  });
  systemDark.addEventListener("change", drawAll);

  // Paper is light, as wide as paper, and shows the closed boxes too.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    printing = true;
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const box of opened) box.open = true;
    document.body.classList.add("printing");
    showTheme();
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    printing = false;
    for (const box of opened) box.open = false;
    document.body.classList.remove("printing");
    showTheme();
    drawAll();
  });
})();
