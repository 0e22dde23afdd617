// A click on a heading sorts by its column; a second one turns the order round.
for (const heading of document.querySelectorAll('thead th')) {
  heading.tabIndex = 0;
  const sort = () => {
    const table = heading.closest('table');
    const column = heading.cellIndex;
    const before = heading.getAttribute('aria-sort');
    const down = column ? before !== 'descending' : before === 'ascending';
    const key = (row) => (column ? row.cells[column].dataset.order : row.cells[0].textContent);
    const missing = (row) => key(row) === '';
    const compare = (a, b) =>
      missing(a) - missing(b) ||
      (column ? key(a) - key(b) : key(a).localeCompare(key(b))) * (down ? -1 : 1);
    for (const other of table.querySelectorAll('th')) other.removeAttribute('aria-sort');
    heading.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  };
  heading.addEventListener('click', sort);
  heading.addEventListener('keydown', (event) => event.key === 'Enter' && sort());
}
