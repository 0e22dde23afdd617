// Words show the rows and curves of the methods whose names have one of them.
document.getElementById('filter')?.addEventListener('input', (event) => {
  const words = event.target.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const shown = (name) => !words.length || words.some((word) => name.toLowerCase().includes(word));
  for (const row of document.querySelectorAll('tbody tr')) row.hidden = !shown(row.cells[0].textContent);
  for (const drawn of document.querySelectorAll('svg g[id*="::"]'))
    drawn.style.display = shown(drawn.id.split('::')[1]) ? '' : 'none';
});
