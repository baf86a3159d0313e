"""Where labelled images come from: folders, archives, tables, the Hugging Face hub."""
