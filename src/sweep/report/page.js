'use strict';
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = new Map(JSON.parse(document.getElementById('data').textContent).map(point => [String(point.point), point]));
  const layers = document.getElementById('layers');
  const select = document.getElementById('choose');

  // What a cell is sorted by: a number where it has one, else its text. Empty cells come last.
  const key = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.sort ?? cell.textContent;
    const number = Number(text.replace(/,/g, ''));
    return text === '' ? null : Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) =>
    typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true });

  const sort = (table, column, isDescending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map(row => [key(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return isDescending ? compare(b, a) : compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
    all('thead th', table).forEach((head, number) => {
      if (number === column) head.setAttribute('aria-sort', isDescending ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
  };

  for (const table of all('#points, #layers')) {
    all('thead th', table).forEach((head, column) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = head.textContent;
      button.addEventListener('click', () => sort(table, column, head.getAttribute('aria-sort') === 'ascending'));
      head.replaceChildren(button);
    });
  }

  const fill = ({ label, layers: rows }) => {
    const numbers = all('thead th', layers).map(head => head.classList.contains('number'));
    layers.caption.textContent = `Layers at ${label} as they run, with what was fused into them`;
    layers.tBodies[0].replaceChildren(...rows.map(texts => {
      const row = document.createElement('tr');
      texts.forEach((text, column) => {
        const cell = row.insertCell();
        cell.textContent = text;
        if (numbers[column]) cell.className = 'number';
      });
      return row;
    }));
    const sorted = all('thead th', layers).findIndex(head => head.hasAttribute('aria-sort'));
    if (sorted >= 0) sort(layers, sorted, layers.tHead.rows[0].cells[sorted].getAttribute('aria-sort') === 'descending');
  };

  const choose = point => {
    if (!data.has(point)) return;
    for (const part of all('details.choice')) {
      part.open = part.dataset.points.split(' ').includes(point);
      part.hidden = !part.open;
    }
    for (const part of all('tr[data-point], .hit[data-point]')) part.classList.toggle('chosen', part.dataset.point === point);
    select.value = point;
    fill(data.get(point));
  };

  if (!select) return;
  document.documentElement.classList.add('scripted');
  select.addEventListener('change', () => choose(select.value));
  document.addEventListener('click', event => {
    const mark = event.target.closest('.hit[data-point], #points tr[data-point]');
    if (!mark) return;
    choose(mark.dataset.point);
  });
  const asked = location.hash.match(/^#point-(\d+)$/);
  choose(asked && data.has(asked[1]) ? asked[1] : select.value);
})();
