"""What people read: text, JSON, and one self-contained HTML file."""
