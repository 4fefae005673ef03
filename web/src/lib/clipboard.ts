/** Copies text; also where the clipboard API is missing because the page came over plain HTTP. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text: string): boolean {
  const field = document.createElement('textarea');
  field.value = text;
  field.className = 'visually-hidden';
  document.body.append(field);
  field.select();
  // Deprecated, and the only way on insecure pages.
  const copied = (document as { execCommand: (command: string) => boolean }).execCommand('copy');
  field.remove();
  return copied;
}
