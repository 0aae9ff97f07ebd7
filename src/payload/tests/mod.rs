mod forms;
mod text;
